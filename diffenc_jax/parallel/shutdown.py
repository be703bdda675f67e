"""SIGTERM and Ctrl-C as a flag that a loop checks between steps."""

import itertools
import signal
import types
from collections.abc import Callable

from diffenc_jax.core.errors import Interrupted

# JAX's preemption service counts the calls of the whole process, which may open several shutdowns.
_SYNC_POINTS = itertools.count(1)


class Shutdown:
    """A context that holds back the first SIGTERM or SIGINT; a second SIGINT raises KeyboardInterrupt.

    Attributes:
      held_back: numbers of the signals that are held back.
      signal: number of the signal that has arrived, or 0.
    """

    held_back: tuple[int, ...] = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.signal = 0

    def __enter__(self) -> "Shutdown":
        self._previous = {number: signal.signal(number, self._note) for number in self.held_back}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: types.FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal != 0

    def check(self) -> None:
        """Raise Interrupted if a signal has arrived."""
        if self.requested():
            raise Interrupted(self.signal)

    def checking(self, advance: Callable[..., None]) -> Callable[..., None]:
        """Function of `part=1` that calls `advance(part)` and then `check`."""

        def on_part(part: float = 1) -> None:
            advance(part)
            self.check()

        return on_part


class JointShutdown(Shutdown):
    """A shutdown that all processes of a run notice after the same step.

    JAX's preemption service catches the SIGTERM that any process receives and agrees on the next step that no process
    has reached. All processes must call `requested` equally often. SIGINT keeps its default effect.
    """

    held_back = ()

    def requested(self) -> bool:
        from jax.experimental import multihost_utils

        if multihost_utils.reached_preemption_sync_point(next(_SYNC_POINTS)):
            self.signal = signal.SIGTERM
        return super().requested()


def shutdown_of_run() -> Shutdown:
    """A JointShutdown if this process is one of several that form a run, otherwise a Shutdown."""
    import jax

    return JointShutdown() if jax.distributed.is_initialized() else Shutdown()
