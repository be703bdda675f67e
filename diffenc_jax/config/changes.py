"""Changes of a configuration's values: of single keys, of whole sections, and of names of parts with their keys."""

from collections.abc import Mapping
from typing import Any

from diffenc_jax.config.schema import flatten, jsonable, unknown_key
from diffenc_jax.core import parts
from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import REQUIRED, Key, join

_PART_BY_KEY = {kind.name_key: name for name, kind in parts.kinds().items() if kind.section}
_PART_BY_SECTION = {kind.section: name for name, kind in parts.kinds().items()}


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested values with `changes` by key, such as {"loss.depth": 10, "model.encoder": {...}}.

    Sections are replaced first, then names of parts. The keys of a new part have its defaults. Keys without a default
    keep their value if the old and the new part share them. Raises InputError for an unknown key.
    """
    result = jsonable(values)
    open_keys: set[str] = set()
    sections = {path: value for path, value in changes.items() if isinstance(value, Mapping)}
    named = {path: value for path, value in changes.items() if path in _PART_BY_KEY}
    for path, value in (sections | named | dict(changes)).items():
        section, name = _section_of(result, path, open_keys)
        if path in named and isinstance(value, str) and section[name] != value:
            open_keys |= _take_part(result, _PART_BY_KEY[path], value)
        if type(value) is int and isinstance(section.get(name), float):
            value = Key("", REQUIRED, type=float).checked(path, value)
        section[name] = jsonable(value)
    return result


def _section_of(values: dict[str, Any], path: str, open_keys: set[str]) -> tuple[dict[str, Any], str]:
    """The section of the key at `path`, and the key's name; raises InputError for a key that is neither there nor open.

    Args:
      values: the nested values.
      path: the full key.
      open_keys: full keys that need not have a value yet.
    """
    *parents, name = path.split(".")
    section: Any = values
    for parent in parents:
        section = section.get(parent) if isinstance(section, dict) else None
    if isinstance(section, dict) and name in section:
        return section, name
    possible = open_keys | _keys_of_part(parents, section)
    require(path in possible, unknown_key(path, {*flatten(values), *possible}))
    return section, name


def _keys_of_part(parents: list[str], section: Any) -> set[str]:
    """Full keys of the part in this section, where those with a default may be absent; none if it has no part."""
    path = ".".join(parents)
    is_part = isinstance(section, dict) and "kind" in section and path in _PART_BY_SECTION
    return {join(path, key) for key in parts.keys(_PART_BY_SECTION[path], section["kind"])} if is_part else set()


def _take_part(values: dict[str, Any], kind: str, name: str) -> set[str]:
    """Replace the keys of a part's section by those of the part `name`; returns the full names of these keys.

    Sizes of networks, such as the width, have no defaults, so they keep their values.
    """
    definitions, path = parts.keys(kind, name), parts.kinds()[kind].section
    section, _ = _section_of(values, join(path, "kind"), {join(path, "kind")})
    before = {key: section[key] for key in definitions if key in section}
    defaults = {key: jsonable(d.default) for key, d in definitions.items() if d.default is not REQUIRED}
    kept = {"kind": name} if "kind" in section else {}
    section.clear()
    section.update(kept | before | defaults)
    return {join(path, key) for key in definitions}
