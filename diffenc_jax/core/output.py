"""Standard output and error of a program that goes on when they cannot be written to."""

import logging
import os
import sys
from typing import Any, TextIO

from diffenc_jax.core.errors import reason


class TolerantStream:
    """A text stream that drops what cannot be written, because its disk is full or its reader, such as `head`, is gone.

    After the first failure nothing more is written.

    Attributes:
      lost: why something was dropped although a reader may miss it, such as a full disk; "" if nothing was, or if the
        reader is gone, which has read what it wanted.
    """

    def __init__(self, stream: TextIO):
        self._stream, self.lost = stream, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write or drop `text`; returns its length."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Write or drop what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Drop what the stream holds: Python flushes it once more at the end of the program."""
        self.lost = "" if isinstance(error, BrokenPipeError) else reason(error)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def go_on_without_output() -> None:
    """Make standard output and error tolerant, and keep the numbers of those that are closed.

    Call it before anything is printed or opened: a file that is opened would take the number of a closed stream, and
    receive what libraries print.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name) or os.fdopen(number, "w", closefd=False)
        setattr(sys, name, TolerantStream(stream))


def lost_output() -> str:
    """Why standard output could not be written, such as 'No space left on device'; "" if it could, or see `lost`."""
    if not isinstance(sys.stdout, TolerantStream):
        return ""
    sys.stdout.flush()
    return sys.stdout.lost


def drop_late_answers() -> None:
    """Drop the tracebacks of reads and writes that Orbax had begun when another one failed, and given up."""

    def hook(unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)
        of_orbax = code is not None and "orbax" in code.co_filename
        if not of_orbax and str(unraisable.exc_value) != "Event loop is closed":
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = hook
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it logs those of answers that nobody waits for


def escape_what_has_no_code() -> None:
    """Print characters that the terminal's encoding lacks, such as ± in ASCII, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
