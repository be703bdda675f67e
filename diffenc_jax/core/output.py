"""Standard output and error of a program that goes on when they cannot be written to."""

import logging
import os
import sys
from typing import Any, TextIO


class TolerantStream:
    """A text stream that drops what cannot be written, because its disk is full or its reader, such as `head`, is gone.

    After the first failure nothing more is written.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write or drop `text`; returns its length."""
        try:
            return self._stream.write(text)
        except OSError:
            lead_nowhere(self._stream)
            return len(text)

    def flush(self) -> None:
        """Write or drop what is buffered."""
        try:
            self._stream.flush()
        except OSError:
            lead_nowhere(self._stream)


def lead_nowhere(stream: TextIO) -> None:
    """Drop what a stream holds that cannot be written: Python flushes it once more at the end of the program."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def go_on_without_output() -> None:
    """Make standard output and error tolerant; call it before anything is printed."""
    sys.stdout, sys.stderr = TolerantStream(sys.stdout), TolerantStream(sys.stderr)


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
