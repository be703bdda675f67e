"""Standard output and standard error that tolerate failures: the program goes on if they cannot be written."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

from diffenc_jax.core.errors import reason

AGAIN = 0.1  # seconds after which a signal comes again
MARKS = ("orbax", "TensorStore", "OCDBT")  # in messages about the reads and writes of checkpoints


class TolerantStream:
    """A text stream that drops its output after a failure, such as a full disk or a reader (`head`) that is gone.

    Attributes:
      lost: reason of the failure, such as a full disk; "" without a failure. A reader that is gone is none: it has read
        what it wanted.
    """

    def __init__(self, stream: TextIO):
        self._stream, self.lost = stream, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write or drop `text`; returns its length."""
        self._attempt(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Write or drop the buffered text."""
        self._attempt(self._stream.flush)

    def _attempt(self, act: Callable[..., Any], *given: str) -> None:
        """Call act(*given); after a failure, redirect the stream to os.devnull, since Python flushes it at exit."""
        try:
            act(*given)
        except OSError as error:
            self.lost = "" if isinstance(error, BrokenPipeError) else reason(error)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def go_on_without_output() -> None:
    """Make standard output and standard error tolerant; a closed standard stream is opened on os.devnull.

    Call it before anything is printed or opened. Otherwise the next file that is opened would take the descriptor of a
    closed stream, and receive the output of libraries.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name) or os.fdopen(number, "w", closefd=False)
        setattr(sys, name, TolerantStream(stream))


def lost_output() -> str:
    """Why standard output could not be written, such as 'No space left on device'; see `TolerantStream.lost`."""
    if not isinstance(sys.stdout, TolerantStream):
        return ""
    sys.stdout.flush()
    return sys.stdout.lost


def mend_unraisable() -> None:
    """Treat exceptions that Python cannot raise, such as those in a callback of the garbage collector; JAX has one.

    The tracebacks of reads and writes that Orbax abandoned when another one failed are dropped. After a
    KeyboardInterrupt its signal comes again. All others are shown.
    """
    shown = sys.unraisablehook
    if getattr(shown, "func", None) is not _on_unraisable:
        sys.unraisablehook = partial(_on_unraisable, shown)
        logging.getLogger("asyncio").addFilter(_is_not_late)  # it logs exceptions that nobody waits for


def _on_unraisable(show: Callable[[Any], Any], unraisable: Any) -> None:
    error, code = unraisable.exc_value, getattr(unraisable.object, "cr_code", None)
    of_orbax = code is not None and "orbax" in code.co_filename
    if isinstance(error, KeyboardInterrupt):
        threading.Timer(AGAIN, os.kill, [os.getpid(), *(error.args or [signal.SIGINT])]).start()
    elif not of_orbax and str(error) != "Event loop is closed":
        show(unraisable)


def _is_not_late(record: logging.LogRecord) -> bool:
    return not any(mark in record.getMessage() for mark in MARKS)


def escape_what_has_no_code() -> None:
    """Print characters that the terminal's encoding lacks as escapes, such as ± in ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
