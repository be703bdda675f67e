"""Outputs of a training: progress, metrics, checkpoints, evaluations, samples and traces."""

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np
from clu.metric_writers import MultiWriter
from clu.periodic_actions import PeriodicCallback
from rich.console import Console

from diffenc_jax.core import parts, versions
from diffenc_jax.core.errors import Interrupted, NotFinite, RunError
from diffenc_jax.core.numbers import record_line
from diffenc_jax.core.progress import RunProgress
from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.model import Params
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel.sharding import IN_FLIGHT
from diffenc_jax.parallel.shutdown import shutdown_of_run
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.runs.origin import note_origin
from diffenc_jax.runs.record_types import Record
from diffenc_jax.train import overfitting
from diffenc_jax.train.profiler import Profiler, StepRange
from diffenc_jax.train.program import StepReport
from diffenc_jax.train.saving import Saver
from diffenc_jax.train.state import TrainState, averages
from diffenc_jax.train.writer import Background, Guard, JsonLines, described

# A run ends after this many consecutive steps that are not finite, since its parameters are of no use.
MAX_SKIPPED = 100

# (parameters, function to call with the share of each finished part) -> a picture of samples, uint8 [h, w, 1 or 3].
DrawSamples = Callable[[Params, Callable[[float], None]], np.ndarray]


class Outputs(ExitStack):
    """The outputs of a training: a context, in which `open` opens the workdir.

    Attributes:
      progress: the progress on the terminal.
      profiler: traces of some steps.
    """

    def __init__(self, run: BaseRun, workdir: Path, console: Console, draw_samples: DrawSamples | None = None):
        """Opens nothing; raises InputError if the run cannot be evaluated or a writer is unknown.

        Args:
          draw_samples: as for `loop.train`.
        """
        super().__init__()
        self._run, self._config, self._workdir = run, run.config, workdir
        self._evaluator, self._draw_samples = Evaluator(run), draw_samples
        _ = self._evaluator.split.true_bits  # a wrong `log_prob` is refused now
        self._writers = {name: parts.load("writer", name) for name in self._config.log.writers}
        # The steps whose reports have not been read, and the number of the last steps that were skipped.
        self._unread, self._skipped = deque[tuple[int, StepReport]](), 0
        self.progress = RunProgress(console, self._config.train.steps, self._config.train.batch_size)
        self._say = self.progress.print_line

    def open(self, abstract: TrainState, profiled: StepRange | None) -> tuple[int, TrainState | None]:
        """Open the workdir, and say what is trained; returns the step and state to continue from, or (0, None).

        Args:
          abstract: ShapeDtypeStructs of a state.
          profiled: as for `loop.train`.
        """
        config, workdir = self._config, self._workdir
        self._shutdown = self.enter_context(shutdown_of_run())
        self._saver = Saver(self, workdir, config, abstract, self._say)
        self.enter_context(self.progress)
        self.profiler = self.enter_context(Profiler(profiled, workdir, self._say))
        self._start, state = self._restore(abstract)
        own, start = self._writers if hosts.is_first() else {}, self._start
        guards = [Guard(name, partial(described, part, workdir, config, abstract.params)) for name, part in own.items()]
        self._writer = self.enter_context(closing(MultiWriter([JsonLines(workdir, start), *map(Background, guards)])))
        # CLU also passes the time `t` to a callback.
        self._log = PeriodicCallback(every_steps=config.log.every_steps, callback_fn=self._log_metrics)
        return start, state

    def _restore(self, abstract: TrainState) -> tuple[int, TrainState | None]:
        config, stored, train = self._config, self._saver.stored, self._run.dataset.split(TRAIN)
        count, name = sum(leaf.size for leaf in jax.tree.leaves(abstract.params)), f"{config.name}:{config.arm}"
        self._say(f"{name}, seed {config.seed}, {count:,} parameters, on {versions.device()}, in {self._workdir}")
        self._say(f"images: {train.source.name}, version {train.source.version}, {len(train.data):,} for training")
        start, state = self._saver.restore()
        if start:
            self.progress.resume(start)
            self._say(f"resuming from step {start} of {self._workdir}")
        elif stored.origin.environments:
            self._say(f"the run in {self._workdir} ended before its first checkpoint; training starts again")
        if changes := note_origin(stored, config, train, self._evaluator.split, start):
            self._say(f"resuming {changes}; results are no longer bit for bit those of an uninterrupted run")
        return start, state

    def after_step(self, step: int, state: TrainState, report: StepReport) -> None:
        """Read the reports of earlier steps, end the trace if it is due, and stop the run after a signal."""
        self._unread.append((step, report))
        # Wait for the first step, so that its time does not count as the time of later steps.
        self._read_reports(keep=0 if step == self._start + 1 else IN_FLIGHT)
        with self._saver.handling_failed_writes():
            self.profiler.after(step, state)
        if self._shutdown.requested():
            self._save_and_stop(step, state)

    def _read_reports(self, keep: int = 0) -> None:
        """Wait for steps, and check and log them, until at most `keep` reports are unread."""
        while len(self._unread) > keep:
            step, report = self._unread.popleft()
            self._skipped = 0 if report.finite else self._skipped + 1
            if self._skipped:
                self._skip_or_stop(step)
            is_logged = self._log(step, report=report)
            self.progress.show_step(step, partial(averages, report.meter), is_logged)

    def _skip_or_stop(self, step: int) -> None:
        """Report a step that is not finite. Raises RunError if it ends the run."""
        message = f"step {step}: the loss, its gradient or the updated parameters are not finite"
        if self._config.train.on_nonfinite == "stop":
            raise RunError(f"{message}; {self._saver.kept()}; train.on_nonfinite=skip leaves such steps out")
        if self._skipped == MAX_SKIPPED:
            raise RunError(f"{message}, {MAX_SKIPPED} steps in a row; {self._saver.kept()}")
        if self._skipped == 1:
            self._say(f"{message}; it is skipped")

    def _log_metrics(self, step: int, report: StepReport, t: float = 0.0) -> None:
        """Write the averages since the last log."""
        row = averages(report.meter)
        if self._config.train.on_nonfinite == "skip":
            row["skipped_steps"] = self._config.log.every_steps - float(report.meter.grad_norm.weight)
        if (rate := self.progress.rate(step)) is not None:
            row["images_per_second"] = rate
        self._write(step, "train", row)

    def _write(self, step: int, group: str, row: dict[str, float]) -> None:
        """Write a row of metrics."""
        with self._saver.handling_failed_writes():
            self._writer.write_scalars(step, {f"{group}/{name}": value for name, value in row.items()})

    def save(self, step: int, state: TrainState, t: float = 0.0) -> None:
        """Start to save `state`, once everything up to its step is logged."""
        self._read_reports()
        self._saver.save(step, state, self._skipped, self._writer.flush)

    def finish(self, step: int, state: TrainState) -> Record:
        """Evaluate and save the last state; returns the record."""
        record = self.evaluate(step, state)
        assert record is not None  # or `evaluate` has raised
        self._saver.finish(step, state, self._skipped, self._writer.flush)
        if caution := overfitting.caution(self._saver.stored, record):
            self._say(caution)
        return record

    def _save_and_stop(self, step: int, state: TrainState) -> NoReturn:
        """Save `state` and raise Interrupted, or RunError if saving fails."""
        self._read_reports()
        self._saver.finish(step, state, self._skipped, self._writer.flush)
        self._say(f"stopped by a signal; step {step} is saved, and the same command resumes from there")
        raise Interrupted(self._shutdown.signal)

    def evaluate(self, step: int, state: TrainState, t: float = 0.0) -> Record | None:
        """The record of `step`, or None if it cannot be written; a signal saves the state and stops the run."""
        self._read_reports()
        record, split, is_last = None, self._config.eval.split, step >= self._config.train.steps
        try:
            with self.progress.evaluating():
                name, total = f"evaluating {split} at step {step}", self._evaluator.num_batches()
                with self.progress.task(name, total) as advance, self._saver.handling_failed_writes(final=is_last):
                    on_batch = self._shutdown.checking(advance)
                    record = self._evaluator.record(state.ema, step, self._saver.stored, on_batch=on_batch).record
                if record is not None:
                    self._say(record_line(record))
                    self._write(step, "eval", {f"{split}_{name}": value for name, value in record["bpd"].items()})
                    self._write_samples(step, state.ema)
        except Interrupted:
            self._save_and_stop(step, state)
        except NotFinite as error:
            if is_last:
                raise RunError(f"step {step}: {error}; {self._saver.best()}") from error
            self._say(f"step {step}: {error}")
        return record

    def _write_samples(self, step: int, params: Params) -> None:
        """Draw samples of `params` and write a picture of them, or say why there is none. Raises Interrupted."""
        if self._draw_samples is None:
            return
        with self.progress.task(f"drawing samples at step {step}", 1.0) as advance:
            try:
                picture = self._draw_samples(params, self._shutdown.checking(advance))
                self._writer.write_images(step, {"eval/samples": picture})
            except RunError as error:
                self._say(f"no samples of step {step}: {error}")
