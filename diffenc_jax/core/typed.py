"""Check of values from JSON files against annotations."""

import types
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict


def mismatch(value: Any, kind: Any, name: str = "") -> str | None:
    """Dotted name of the first entry of a JSON value `name` that is not of its type, None if all are.

    Args:
      kind: a TypedDict, which may have further keys, dict[str, X], list[X], X | None, or a type of JSON values; float
        stands for all numbers.
    """
    if is_typeddict(kind):
        entries, needed = value if isinstance(value, dict) else {}, kind.__required_keys__
        hints = {key: hint for key, hint in get_type_hints(kind).items() if key in needed or key in entries}
        # A missing entry is an Ellipsis, which is no JSON value.
        parts = [(entries.get(key, ...), hint, f"{name}.{key}".strip(".")) for key, hint in hints.items()]
    elif isinstance(kind, types.UnionType):
        parts = [] if value is None else [(value, get_args(kind)[0], name)]
    elif get_origin(kind) is dict:
        if not isinstance(value, dict):
            return name
        parts = [(item, get_args(kind)[1], f"{name}.{key}") for key, item in value.items()]
    elif get_origin(kind) is list:
        if not isinstance(value, list):
            return name
        parts = [(item, get_args(kind)[0], f"{name}.{number}") for number, item in enumerate(value)]
    else:
        allowed = int | float if kind is float else kind
        return None if isinstance(value, allowed) and isinstance(value, bool) == (kind is bool) else name
    return next((wrong for part in parts if (wrong := mismatch(*part)) is not None), None)
