"""Sections of a configuration: mappings with given keys, read, checked and written back."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ml_collections import ConfigDict

from diffenc_jax.core.errors import require, suggestion
from diffenc_jax.core.keys import Key, Keyed, hints_of, join, keys_of

STORED_NAMES = {"train.ends_every": "endpoint_interval"}  # keys by their full names in stored configurations
ADDED = {"ode.method": "Bosh3"}  # keys that stored configurations may lack, and what these did


@dataclass(frozen=True)
class Section(Keyed):
    """Base class of the sections.

    A subclass names its path in the configuration: `class ScheduleConfig(Section, section="model.schedule")`.
    """

    def __init_subclass__(cls, section: str = "") -> None:
        cls.section = section

    @classmethod
    def parse(cls, values: Mapping[str, Any], path: str) -> Self:
        """The section from a mapping with exactly its keys; nested sections are mappings too.

        Raises InputError if a key is missing or unknown, or if a value is not allowed.
        """
        check_section(path, values)
        values = {STORED_NAMES.get(join(path, name), name): value for name, value in values.items()}
        known, place = [field.name for field in dataclasses.fields(cls)], f" in {path}" if path else ""
        values = {name: ADDED[join(path, name)] for name in known if join(path, name) in ADDED} | values
        unknown, missing = [name for name in values if name not in known], sorted(set(known) - set(values))
        require(not unknown, f"unknown configuration keys {unknown}{place}; known: {', '.join(known)}")
        require(not missing, f"configuration keys {missing} are missing{place}")
        nested = {name: section.parse(values[name], join(path, name)) for name, section in sections_of(cls).items()}
        return cls(**{**values, **nested})

    def to_dict(self) -> dict[str, Any]:
        """The section as nested dictionaries of JSON values; `parse` makes the same section of them."""
        return {field.name: jsonable(getattr(self, field.name)) for field in dataclasses.fields(self)}


def sections_of(section: type[Section]) -> dict[str, type[Section]]:
    """Classes of the nested sections, by name."""
    hints = {name: hint for name, hint in hints_of(section).items() if isinstance(hint, type)}
    return {name: hint for name, hint in hints.items() if issubclass(hint, Section)}


def check_section(path: str, values: Any) -> None:
    """Raise InputError unless `values`, given for the section at `path`, are a mapping."""
    require(isinstance(values, Mapping), f"{path} must be a section of keys, not {values!r}")


def jsonable(value: Any) -> Any:
    """A copy of `value` with tuples as lists, and mappings and sections as dictionaries."""
    if isinstance(value, Section | ConfigDict):
        return jsonable(value.to_dict())
    if isinstance(value, Mapping):
        return {name: jsonable(member) for name, member in value.items()}
    return [jsonable(member) for member in value] if isinstance(value, tuple) else value


def json_digest(value: Any) -> str:
    """SHA-256 digest of a JSON value, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def unknown_key(path: str, known: Iterable[str]) -> str:
    """Message that there is no key `path`, with the nearest keys and the keys beside it.

    Args:
      path: the unknown key, such as "train.step".
      known: all full keys.
    """
    known = sorted(known)
    parent, _, name = path.rpartition(".")
    siblings = [key.removeprefix(f"{parent}.") for key in known if parent and key.rpartition(".")[0] == parent]
    elsewhere = [key for key in known if key.rpartition(".")[2] == name]
    perhaps = f", perhaps {' or '.join(elsewhere)}" if elsewhere else suggestion(path, known)
    has = f"{parent} has the keys {', '.join(siblings)}; " if siblings else ""
    return f"unknown configuration key {path!r}{perhaps}; {has}see `diffenc config-keys`"


def every_key(section: type[Section], path: str = "") -> Iterator[tuple[str, Key]]:
    """Full name and definition of each key of the section at `path`, without the keys of parts."""
    yield from ((join(path, name), key) for name, key in keys_of(section).items())
    for name, nested in sections_of(section).items():
        yield from every_key(nested, join(path, name))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by full key of a nested dictionary: {'train.steps': 100, ...}."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
