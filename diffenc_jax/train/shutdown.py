"""SIGTERM and Ctrl-C, turned into something the loop can look at between steps."""

import signal
import types

from diffenc_jax.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Shutdown:
    """While open, holds back the first SIGTERM or SIGINT; a second SIGINT ends the process as ever."""

    def __init__(self):
        self.signal: int | None = None
        self._previous = {}

    def __enter__(self) -> "Shutdown":
        self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: types.FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    def check(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self.requested():
            raise Interrupted(self.signal)
