"""Saving the states of a training, and what a failed write means: a warning, another attempt, or the end of the run."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from diffenc_jax.config import Config
from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import InputError, RunError, reason
from diffenc_jax.runs.checkpoint import Checkpoints, SaveFailed
from diffenc_jax.runs.metrics import evaluated_bpd, read_metrics
from diffenc_jax.runs.workdir import locked_run
from diffenc_jax.train.state import TrainState

# For buckets, where requests fail now and then: attempts to save the last state, seconds between these attempts, and
# the number of consecutive failed saves that do not end the run.
ATTEMPTS, RETRY_SECONDS, FORGIVEN = 3, 10.0, 3


class Saver:
    """The checkpoints of a training in progress, which holds the lock of its workdir.

    Attributes:
      stored: the run as it is read under the lock.
      checkpoints: its checkpoints, open for writing.
    """

    def __init__(
        self, stack: ExitStack, workdir: Path, config: Config, abstract: TrainState, say: Callable[[str], None]
    ):
        """Open a workdir until `stack` is closed.

        Args:
          abstract: ShapeDtypeStructs of a state.
          say: prints a line.
        """
        self._workdir, self._in_bucket, self._say, self._abstract = workdir, is_remote(workdir), say, abstract
        self._stops, self._saved, self._failed = config.checkpoint.on_failure == "stop", 0, 0
        self._lock, self.stored = stack.enter_context(locked_run(workdir, config))
        self.checkpoints = stack.enter_context(Checkpoints(self.stored, config.checkpoint.keep_every_steps, abstract))

    def restore(self) -> tuple[int, TrainState | None]:
        """The step and state of the newest intact checkpoint; (0, None) without one."""
        newest = self.checkpoints.newest(lambda step: self.checkpoints.restore(step, self._abstract)) or (0, None)
        self._saved = newest[0]
        return newest

    def save(self, step: int, state: TrainState, skipped: int, flush: Callable[[], None], final: bool = False) -> None:
        """Start to save `state`. Raises RunError if it is not finite.

        If all steps since the last save were skipped, only the `final` state is saved: another save would push an older
        checkpoint out.

        Args:
          skipped: number of the last steps that were skipped.
          flush: writes the metrics up to this step, which a checkpoint must not be ahead of.
        """
        if not final and 0 < step - self._saved <= skipped:
            return
        if step != self._saved and not state.is_finite():
            raise RunError(f"step {step}: the parameters are not finite, and are not saved; {self.kept()}")
        self._lock.check()
        with self.handling_failed_writes():
            flush()
        self._failed += 1
        with self.handling_failed_writes(too_many=self._failed > FORGIVEN):
            self.checkpoints.save(step, state)
            self._failed, self._saved = 0, step

    def finish(self, step: int, state: TrainState, skipped: int, flush: Callable[[], None]) -> None:
        """Save `state` unless it is saved, and wait for it. Raises RunError if that fails."""
        self.save(step, state, skipped, flush, final=True)
        for left in reversed(range(ATTEMPTS if self._in_bucket else 1)):
            with self.handling_failed_writes(final=not left):
                self.checkpoints.save(step, state)
                self.checkpoints.wait()
                flush()
                return
            time.sleep(RETRY_SECONDS)

    @contextmanager
    def handling_failed_writes(self, final: bool = False, too_many: bool = False) -> Iterator[None]:
        """Turn a failed write into a RunError if it is the `final` one or if configured so, otherwise into a warning.

        In a bucket it is a warning whatever is configured, unless there are `too_many`.
        """
        try:
            yield
        except (SaveFailed, InputError, OSError) as error:
            message, kept = str(error), self.kept(write_failed=True)
            if isinstance(error, OSError):
                message = ": ".join(str(part) for part in (error.filename, reason(error)) if part)
            if final or (self._stops and (too_many or not self._in_bucket)):
                raise RunError(f"{message}; {kept}") from error
            self._say(f"{message}; {kept}, and the run goes on")

    def kept(self, write_failed: bool = False) -> str:
        """Part of a message: which checkpoint is kept."""
        last = self.checkpoints.complete if write_failed else self.checkpoints.latest_step()
        return f"the checkpoint of step {last} is kept" if last else "there is no checkpoint yet"

    def best(self) -> str:
        """Part of a message: the best of the evaluated checkpoints, or the newest one."""
        self.checkpoints.wait()
        bits = evaluated_bpd(read_metrics(self._workdir))
        best = min(bits.keys() & set(self.checkpoints.steps()), key=lambda step: bits[step], default=0)
        return f"the checkpoint of step {best} has {bits[best]:.4f}" if best else self.kept()
