"""The errors a user is meant to read, and the look-up that raises the first of them."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Something the user gave is wrong: its text is one line that says what, and what would be right."""


class RunError(RuntimeError):
    """A run cannot go on; its text is one line that says why and what is kept."""


class Interrupted(Exception):
    """A signal asked the run to stop.

    Attributes:
      signal: its number.
    """

    def __init__(self, signal: int):
        super().__init__(signal)
        self.signal = signal


def first_line(error: Exception) -> str:
    """What a library says first; what follows is for its developers."""
    return (str(error).splitlines() or [""])[0]


def lookup(kind: str, name: str, registry: Mapping[str, T]) -> T:
    """Returns `registry[name]`.

    Raises:
      InputError: `name` is unknown; the message lists the known ones.
    """
    if name not in registry:
        raise InputError(f"unknown {kind} {name!r}; known: {', '.join(sorted(registry))}")
    return registry[name]
