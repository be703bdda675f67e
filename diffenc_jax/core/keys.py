"""Keys: typed fields of parts and of sections of a configuration, with default, limits and documentation."""

import ast
import dataclasses
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any, ClassVar, NamedTuple, get_args, get_origin, get_type_hints

from diffenc_jax.core.errors import require, require_printable

REQUIRED = dataclasses.MISSING
hints_of: Callable[[type], dict[str, Any]] = cache(get_type_hints)
TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}
TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


class Limits(NamedTuple):
    """Limits of a number: in words, such as "be at least 1", and as a function that tests a number."""

    words: str
    allow: Callable[[float], bool]


def at_least(low: float) -> Limits:
    """Limits of numbers that are `low` or more."""
    return Limits(f"be at least {low}", lambda value: value >= low)


FINITE = Limits("be finite", lambda value: abs(value) <= sys.float_info.max)
POSITIVE = Limits("be positive", lambda value: value > 0)
FRACTION = Limits("lie in [0, 1)", lambda value: 0 <= value < 1)
SEEDS = Limits("lie in 0 .. 2^32 - 1", lambda value: 0 <= value < 2**32)


@dataclass(frozen=True)
class Key:
    """Definition of one key.

    Attributes:
      doc: what the key does.
      default: value in the recipe, or `REQUIRED`.
      unit: unit of the value, such as "steps"; "" for names and pure numbers.
      none: what the value None means, where None is allowed.
      choices: allowed names, if they are fixed.
      part: kind of part that the value names (`core.parts.kinds`); "" if it names no part. The name is looked up when
        the part is built.
      limits: limits of the number, or of each number in a tuple.
      type: annotation of the field.
    """

    doc: str
    default: Any = REQUIRED
    unit: str = ""
    none: str = ""
    choices: tuple[str, ...] = ()
    part: str = ""
    limits: Limits = FINITE
    type: Any = Any

    @property
    def types(self) -> tuple[type, ...]:
        """Types of the value, or of the members of a tuple."""
        arguments = get_args(self.type)
        types = arguments[:1] if get_origin(self.type) is tuple else arguments or (self.type,)
        return (*types, NoneType) if self.none and NoneType not in types else types

    def checked(self, path: str, value: Any) -> Any:
        """Convert `value` to the key's type: lists to tuples, and whole numbers to floats if the key takes only floats.

        Raises InputError if the value has another type, lies outside the limits, or is not among the choices.
        """
        if get_origin(self.type) is not tuple:
            return self._checked(path, value)
        require(isinstance(value, tuple | list), f"{path} must be a tuple, not {value!r}")
        return tuple(self._checked(f"each of {path}", member) for member in value)

    def read(self, text: str) -> Any:
        """Parse a text by the key's types. A text that cannot be parsed is returned, and `checked` refuses it."""
        kinds, is_tuple = set(self.types) - {NoneType}, get_origin(self.type) is tuple
        if self.none and text == "None":
            return None
        if kinds == {bool}:
            return TRUTH.get(text.lower(), text)
        if kinds == {str}:
            return tuple(filter(None, map(str.strip, text.split(",")))) if is_tuple else text
        value = literal(text)
        return (value,) if is_tuple and isinstance(value, int | float) else value

    @property
    def expected(self) -> str:
        """The type of the value, or of each member of a tuple, in words: "a whole number"."""
        names = TYPE_NAMES | ({str: f"one of {', '.join(self.choices)}"} if self.choices else {})
        return " or ".join(names[kind] for kind in self.types if kind is not NoneType)

    def _checked(self, path: str, value: Any) -> Any:
        or_none = f", or None for {self.none}" if self.none else ""
        require(self._has_type(value), f"{path} must be {self.expected}{or_none}, not {value!r}")
        if isinstance(value, str):
            require_printable(value, path)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        allowed = FINITE.allow(value) and self.limits.allow(value)
        require(allowed, f"{path} must {self.limits.words}{or_none}, not {value!r}")
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


class Keyed:
    """Base class of frozen dataclasses whose fields are made by `key`.

    A new instance checks the types and limits of its keys, then calls `check`.

    Attributes:
      section: path of the keys in a configuration.
    """

    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, definition in keys_of(type(self)).items():
            value = definition.checked(join(self.section, name), getattr(self, name))
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Raise InputError if values make no sense together."""


def join(path: str, name: str) -> str:
    """Path of the key `name` in the section at `path`."""
    return f"{path}.{name}" if path else name


def literal(text: str) -> Any:
    """The number, tuple or mapping that `text` denotes in Python; otherwise the text itself."""
    for read in (ast.literal_eval, float):  # the latter for inf and nan
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return read(text)
    return text


def key(default: Any = REQUIRED, doc: str = "", **details: Any) -> Any:
    """Field of a `Keyed` or a part, from the key's default, what it does, and further attributes of `Key`."""
    return dataclasses.field(default=default, metadata={"key": Key(doc, default, **details)})


def count(default: Any, doc: str, **details: Any) -> Any:
    """Key of a number of things, at least 1."""
    return key(default, doc, limits=at_least(1), **details)


def seed(doc: str) -> Any:
    """Key of a seed of 32 bits."""
    return key(0, doc, limits=SEEDS)


def keys_of(owner: type) -> dict[str, Key]:
    """Definitions of the keys of a section or a part, by name, without nested sections."""
    fields = dataclasses.fields(owner) if dataclasses.is_dataclass(owner) else ()
    keyed = [field for field in fields if "key" in field.metadata]
    hints = hints_of(owner) if keyed else {}
    return {field.name: dataclasses.replace(field.metadata["key"], type=hints[field.name]) for field in keyed}
