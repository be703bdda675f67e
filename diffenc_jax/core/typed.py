"""Check of values from JSON files against annotations."""

import types
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict


def mismatch(value: Any, kind: Any, name: str = "") -> str | None:
    """Dotted name of the first entry of a JSON value whose type differs from `kind`; None if all types agree.

    Args:
      value: the JSON value.
      kind: a TypedDict, which may have further keys, dict[str, X], list[X], X | None, or a type of JSON values; float
        stands for all numbers.
      name: name of the value itself; names of its entries follow after a dot.
    """
    if isinstance(kind, types.UnionType):
        return None if value is None else mismatch(value, get_args(kind)[0], name)
    container = dict if is_typeddict(kind) else get_origin(kind)
    if container is None:
        allowed = int | float if kind is float else kind
        return None if isinstance(value, allowed) and isinstance(value, bool) == (kind is bool) else name
    if not isinstance(value, container):
        return name
    parts: list[tuple[Any, Any, Any]]
    if is_typeddict(kind):
        keys, hints = kind.__required_keys__ | (kind.__optional_keys__ & value.keys()), get_type_hints(kind)
        # A missing key gets the value Ellipsis, which no JSON value has.
        parts = [(key, value.get(key, ...), hints[key]) for key in sorted(keys)]
    else:
        items = value.items() if container is dict else enumerate(value)
        parts = [(str(key), item, get_args(kind)[-1]) for key, item in items]
    wrong = (mismatch(item, hint, f"{name}.{key}".strip(".")) for key, item, hint in parts)
    return next((entry for entry in wrong if entry is not None), None)
