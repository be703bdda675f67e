"""Keys of a configuration: one definition of each, with its default, its limits and its documentation."""

import dataclasses
import difflib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any, ClassVar, NamedTuple, Self, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict

from diffenc_jax.core.errors import abbreviated, alike, require
from diffenc_jax.core.text import require_printable

REQUIRED = dataclasses.MISSING
NEAR = 0.6  # of difflib's ratio, from which the name of a key counts as near another
_hints: Callable[[type], dict[str, Any]] = cache(get_type_hints)
TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    tuple: "a tuple",
    NoneType: "None",
}


class Limits(NamedTuple):
    """Limits of a number: in words, such as "be at least 1", and as a function that says whether they allow one."""

    words: str
    allow: Callable[[float], bool]


def at_least(low: float) -> Limits:
    """Limits of numbers that are `low` or more."""
    return Limits(f"be at least {low}", lambda value: value >= low)


FINITE = Limits("be finite", lambda value: abs(value) <= sys.float_info.max)
SEEDS = Limits("lie in 0 .. 2^32 - 1", lambda value: 0 <= value < 2**32)


@dataclass(frozen=True)
class Key:
    """Definition of one key.

    Attributes:
      doc: what the key does.
      default: value in the recipe, or `REQUIRED`.
      unit: unit of the value, such as "steps"; "" for names and pure numbers.
      none: what the value None means, where None is allowed.
      choices: allowed names, where they are fixed.
      registry: place of the registry that lists the allowed names, "module:NAME" below `diffenc_jax`. Such a name is
        looked up where the part is built.
      limits: limits of the number, or of each number in a tuple.
      type: annotation of the field.
    """

    doc: str
    default: Any = REQUIRED
    unit: str = ""
    none: str = ""
    choices: tuple[str, ...] = ()
    registry: str = ""
    limits: Limits = FINITE
    type: Any = Any

    @property
    def types(self) -> tuple[type, ...]:
        """Types of the value, or of the members of a tuple."""
        arguments = get_args(self.type)
        return arguments[:1] if get_origin(self.type) is tuple else arguments or (self.type,)

    def checked(self, path: str, value: Any) -> Any:
        """`value` in the key's type: lists as tuples, whole numbers as floats where only floats are expected.

        Raises InputError if it has another type, lies outside the limits, or is not among the choices.
        """
        if get_origin(self.type) is not tuple:
            return self._checked(path, value)
        require(isinstance(value, tuple | list), f"{path} must be a tuple, not {value!r}")
        return tuple(self._checked(f"each of {path}", member) for member in value)

    @property
    def expected(self) -> str:
        """The type of the value, or of each member of a tuple, in words: "a whole number"."""
        names = TYPE_NAMES | ({str: f"one of {', '.join(self.choices)}"} if self.choices else {})
        return " or ".join(names[kind] for kind in self.types if kind is not NoneType)

    @property
    def or_none(self) -> str:
        """End of a message about a wrong value: what None means, where it is allowed."""
        return f", or None for {self.none}" if self.none else ""

    def _checked(self, path: str, value: Any) -> Any:
        require(self._has_type(value), f"{path} must be {self.expected}{self.or_none}, not {value!r}")
        if isinstance(value, str):
            require_printable(value, path)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        allowed = FINITE.allow(value) and self.limits.allow(value)
        require(allowed, f"{path} must {self.limits.words}{self.or_none}, not {value!r}")
        small = float in self.types or self.limits is SEEDS or value < 2**31
        require(small, f"{path}={value} is too large; take less than 2^31")
        return value if int in self.types else float(value)

    def _has_type(self, value: Any) -> bool:
        """Whether `value` has one of the types, and is among the choices if it is a name."""
        if isinstance(value, bool):
            return bool in self.types
        if isinstance(value, str) and self.choices:
            return value in self.choices
        return isinstance(value, self.types) or (isinstance(value, int) and float in self.types)


def key(default: Any, doc: str, **details: Any) -> Any:
    """Field of a `Section`: the key's default, what it does, and other attributes of `Key`."""
    return dataclasses.field(default=default, metadata={"key": Key(doc, default, **details)})


def count(default: int | None, doc: str, **details: Any) -> Any:
    """Key of a number of things, at least 1."""
    return key(default, doc, limits=at_least(1), **details)


def seed(doc: str) -> Any:
    """Key of a seed of 32 bits."""
    return key(0, doc, limits=SEEDS)


@dataclass(frozen=True)
class Section:
    """Base class of the sections, which are frozen dataclasses whose fields are made by `key`.

    A subclass names its path in the configuration: `class ScheduleConfig(Section, section="model.schedule")`.
    An instance is checked when it is made: types and limits of its keys, then `check`.
    """

    section: ClassVar[str]

    def __init_subclass__(cls, section: str = "") -> None:
        cls.section = section

    def __post_init__(self) -> None:
        for name, definition in keys_of(type(self)).items():
            value = definition.checked(join(self.section, name), getattr(self, name))
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Raise InputError if values make no sense together."""

    @classmethod
    def parse(cls, values: Mapping[str, Any], path: str) -> Self:
        """The section from a mapping with exactly its keys; nested sections are mappings too.

        Raises InputError if a key is missing or unknown, or if a value is not allowed.
        """
        check_section(path, values)
        known, place = [field.name for field in dataclasses.fields(cls)], f" in {path}" if path else ""
        unknown, missing = [name for name in values if name not in known], sorted(set(known) - set(values))
        require(not unknown, f"unknown configuration keys {unknown}{place}; known: {', '.join(known)}")
        require(not missing, f"configuration keys {missing} are missing{place}")
        nested = {name: section.parse(values[name], join(path, name)) for name, section in sections_of(cls).items()}
        return cls(**{**values, **nested})

    def to_dict(self) -> dict[str, Any]:
        """The section as nested dictionaries of JSON's values, from which `parse` makes the same section."""
        return {field.name: jsonable(getattr(self, field.name)) for field in dataclasses.fields(self)}


def keys_of(section: type[Section]) -> dict[str, Key]:
    """Definitions of the section's own keys, by name."""
    hints, fields = _hints(section), dataclasses.fields(section)
    return {f.name: dataclasses.replace(f.metadata["key"], type=hints[f.name]) for f in fields if "key" in f.metadata}


def sections_of(section: type[Section]) -> dict[str, type[Section]]:
    """Classes of the nested sections, by name."""
    hints = {name: hint for name, hint in _hints(section).items() if isinstance(hint, type)}
    return {name: hint for name, hint in hints.items() if issubclass(hint, Section)}


def check_section(path: str, values: Any) -> None:
    """Raise InputError unless `values`, given for the section at `path`, is a mapping."""
    require(isinstance(values, Mapping), f"{path} must be a section of keys, not {values!r}")


def jsonable(value: Any) -> Any:
    """`value` with tuples as lists and sections as dictionaries."""
    if isinstance(value, Section | ConfigDict):
        return value.to_dict()
    return [jsonable(member) for member in value] if isinstance(value, tuple) else value


def join(path: str, name: str) -> str:
    """Path of the key `name` in the section at `path`."""
    return f"{path}.{name}" if path else name


def unknown_key(path: str, known: Iterable[str]) -> str:
    """Message that there is no key `path`, with the nearest ones and the keys beside it; `known` are all full keys."""
    known = sorted(known)
    parent, _, name = path.rpartition(".")
    names = {key: key.rpartition(".")[2] for key in known}
    siblings = [key.removeprefix(f"{parent}.") for key in known if parent and key.rpartition(".")[0] == parent]
    nearest = (
        [key for key in known if names[key] == name]
        or [join(parent, sibling) for sibling in abbreviated(name, siblings)]
        or difflib.get_close_matches(path, known, n=1)
        or [key for key in known if names[key] in alike(name, names.values(), NEAR)]
    )
    perhaps = f", perhaps {' or '.join(nearest)}" if nearest else ""
    sections = sorted({key.partition(".")[0] for key in known if "." in key})
    where = f"{parent} has the keys {', '.join(siblings)}" if siblings else f"the sections are {', '.join(sections)}"
    return f"unknown configuration key {path!r}{perhaps}; {where}; see `diffenc config-keys`"


def find_key(section: type[Section], path: str) -> Key | None:
    """Definition of the key at `path` below `section`; None if there is none, as for the options of a network."""
    name, _, rest = path.partition(".")
    nested = sections_of(section).get(name)
    return keys_of(section).get(path) if nested is None else find_key(nested, rest)
