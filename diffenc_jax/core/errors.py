"""Errors that are shown to the user in one line, and helpers that raise them."""

import difflib
import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
# Exit code of a command whose run another process works on: that of sysexits.h for "try again later".
IN_USE = 75
ALIKE = 0.8  # of difflib's ratio, from which a name counts as a misspelling of another
SHORTEST = 3  # letters of a part of a name that tell the name
MOST_NAMED = 3  # names that a message gives
FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk is full, or a user's part of it


class InputError(ValueError):
    """Wrong input from the user. The text is one line: what is wrong, then what to do."""


class InUse(InputError):
    """A place that another process works in."""


class RunError(RuntimeError):
    """A run that cannot continue. The text is one line: why, and which results are kept."""


class TakenOver(RunError):
    """A run that another process continues, since this one was silent for too long."""


class Interrupted(Exception):
    """A signal, given by its number, that asked the run to stop."""

    def __init__(self, signal: int):
        super().__init__(signal)
        self.signal = signal


@contextmanager
def noting(notes: list[str]) -> Iterator[None]:
    """Turn an InputError about a file into a line of `notes`."""
    try:
        yield
    except InputError as error:
        notes.append(str(error))


def first_line(error: Exception) -> str:
    """First line of an error's text. What follows it in a library's error is for the library's developers."""
    return (str(error).splitlines() or [""])[0]


def reason(error: Exception) -> str:
    """Why a file cannot be read or written, in one line: 'No space left on device (free some space)'."""
    full = [os.strerror(number) for number in FULL if os.strerror(number) in str(error)]
    if full:  # an OSError, or an error of a library that quotes one
        return f"{full[0]} (free some space)"
    return getattr(error, "strerror", None) or first_line(error) or type(error).__name__


def lookup(kind: str, name: str, registry: Mapping[str, T]) -> T:
    """Return `registry[name]`; raises InputError, which lists the known names of this `kind`, for an unknown name."""
    if name not in registry:
        raise InputError(f"unknown {kind} {name!r}{suggestion(name, registry)}; known: {', '.join(sorted(registry))}")
    return registry[name]


def suggestion(name: str, known: Iterable[str]) -> str:
    """', perhaps train' for the misspelt 'trian', or '' if no known name is like it: a part of a message."""
    nearest = alike(name, known, ALIKE)
    return f", perhaps {' or '.join(nearest)}" if nearest else ""


def alike(name: str, known: Iterable[str], cutoff: float) -> list[str]:
    """The known names that one may mean by `name`: the nearest spelling from a ratio `cutoff` on, or `abbreviated`."""
    known = list(known)
    return difflib.get_close_matches(name, known, n=1, cutoff=cutoff) or abbreviated(name, known)


def abbreviated(name: str, known: Iterable[str]) -> list[str]:
    """The known names of which `name` is a short or a long form: rate for learning_rate, evaluate for eval."""
    short = name.strip("-")
    forms = [other for other in known if len(short) >= SHORTEST and (short in other or short.startswith(other))]
    return sorted(forms, key=len)[:MOST_NAMED]


def require(condition: bool, message: str) -> None:
    """Raise InputError(message) unless `condition` holds."""
    if not condition:
        raise InputError(message)
