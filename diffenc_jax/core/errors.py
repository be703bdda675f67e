"""Errors that are shown to the user in one line, and helpers that raise them."""

import difflib
import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from diffenc_jax.core.text import has_controls, printable, shortened

T = TypeVar("T")
# Exit code of a command if another process works on its run: "try again later" in sysexits.h.
IN_USE = 75
ALIKE = 0.75  # ratio of difflib from which a name counts as a misspelling of another
SHORTEST = 3  # fewest letters of an abbreviation
MOST_NAMED = 3  # most names that a message suggests
LONGEST = 200  # most characters of a library's error in a message
FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk is full, or a user's share of it
# Advice for errors that do not come from the contents of a file. The reason of a bucket's error, EIO, holds its own.
OTHER_ADVICE = {errno.EACCES: "change its permissions", errno.EIO: ""}


class InputError(ValueError):
    """Wrong input from the user. The text is one line: what is wrong, then what to do. Long texts are shortened."""

    exit_code = 2  # of the command that it ends

    def __init__(self, message: str = ""):
        super().__init__(shortened(message))


class InUse(InputError):
    """A folder in which another process works."""

    exit_code = IN_USE


class RunError(RuntimeError):
    """A run that cannot continue. The text is one line: why, and which results are kept."""

    exit_code = 1


class NotFinite(RunError):
    """A result that is not a finite number."""


class TakenOver(RunError):
    """A run that another process continues, because this process was silent for too long."""

    exit_code = IN_USE


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


@contextmanager
def without_exit() -> Iterator[None]:
    """Turn the SystemExit of a user's program, which would end this one with exit code 0, into a RuntimeError."""
    try:
        yield
    except SystemExit as stop:
        raise RuntimeError(f"it ends the program by {stop!r}") from stop


@contextmanager
def refusing(what: str, advice: str = "") -> Iterator[None]:
    """Turn any error of the block, and SystemExit, into an InputError: `what` is wrong, the reason, then `advice`.

    Libraries and programs of users raise errors that they do not document.
    """
    try:
        with without_exit():
            yield
    except InputError:
        raise
    except Exception as error:
        cause: Any = error
        while cause and not getattr(cause, "strerror", None):
            cause = cause.__cause__ or cause.__context__  # libraries wrap the errors of networks and disks
        raise InputError(f"{what}: {advised(cause or error, advice)}") from error


def first_line(error: Exception) -> str:
    """First line of an error's text, or its type if the text is empty. Libraries' further lines are for developers."""
    return next(filter(None, str(error).splitlines()), type(error).__name__)


def advised(error: Exception, advice: str) -> str:
    """The `reason` of an error, then what to do: `advice`, or the advice of `OTHER_ADVICE`."""
    advice = OTHER_ADVICE.get(getattr(error, "errno", 0), advice)
    return f"{printable(reason(error)[:LONGEST])}{advice and '; '}{advice}"


def reason(error: Exception) -> str:
    """Why a file cannot be read or written, in one line: 'No space left on device (free some space)'."""
    full = [os.strerror(number) for number in FULL if os.strerror(number) in str(error)]
    if full:  # an OSError, or an error of a library that quotes one
        return f"{full[0]} (free some space)"
    return getattr(error, "strerror", None) or first_line(error)


def lookup(kind: str, name: str, registry: Mapping[str, T]) -> T:
    """Return `registry[name]`; raises InputError, which lists the known names of this `kind`, for an unknown name."""
    if name not in registry:
        raise InputError(f"unknown {kind} {name!r}{suggestion(name, registry)}; known: {', '.join(sorted(registry))}")
    return registry[name]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Part of a message that suggests known names: ', perhaps train' for the misspelt 'trian'; '' without a near name.

    A known name is near if it is spelt alike, if it contains `name` (learning_rate for rate), or if `name` begins with
    it (eval for evaluate).
    """
    known, short = list(known), name.strip("-")
    forms = [other for other in known if len(short) >= SHORTEST and (short in other or short.startswith(other))]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=ALIKE) or sorted(forms, key=len)[:MOST_NAMED]
    return f", perhaps {' or '.join(nearest)}" if nearest else ""


def require(condition: bool, message: str) -> None:
    """Raise InputError(message) unless `condition` holds."""
    if not condition:
        raise InputError(message)


def require_printable(text: str, name: str = "") -> None:
    """Raise InputError if `text`, the value of `name`, has control characters, which a shell or a terminal obeys.

    Bytes that the encoding of the environment cannot decode count as control characters.
    """
    if has_controls(text):
        given = f"{name}={text!r}" if name else repr(text)
        advice = "leave them out, or set PYTHONUTF8=1 if they are part of a text in UTF-8"
        raise InputError(f"{given} has control characters; {advice}")
