"""The training loop: it feeds batches, writes checkpoints and metrics, and resumes an interrupted run."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np
from rich.console import Console

from diffenc_jax.config import Config
from diffenc_jax.core import versions
from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import InputError, Interrupted, RunError, reason, require
from diffenc_jax.core.numbers import format_record
from diffenc_jax.core.progress import Advance, RunProgress
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.model import Params
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel.batches import Batches, is_on_device
from diffenc_jax.parallel.sharding import IN_FLIGHT
from diffenc_jax.parallel.shutdown import Shutdown, shutdown_of_run
from diffenc_jax.runs.checkpoint import Checkpoints, SaveFailed
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.runs.files import OTHER_WORKDIR
from diffenc_jax.runs.lock import Claim
from diffenc_jax.runs.metrics import MetricsFile
from diffenc_jax.runs.origin import check_parts, note_origin
from diffenc_jax.runs.record_types import Record
from diffenc_jax.runs.workdir import check_workdir, claimed
from diffenc_jax.train.calls import CallReport, call_length, compile_call
from diffenc_jax.train.profiler import Profiler, Steps, annotation
from diffenc_jax.train.state import Meter, TrainState
from diffenc_jax.train.step import Program
from diffenc_jax.train.writer import TensorBoardWriter

# A run ends after this many consecutive steps that are not finite, since its parameters are of no use.
MAX_SKIPPED = 100
# In a bucket, where requests fail now and then: attempts to save the last state, seconds between them, and failed saves
# in a row after which the run goes on.
ATTEMPTS, RETRY_SECONDS, FORGIVEN = 3, 10.0, 3
NO_LONGER_EXACT = "results are no longer bit for bit those of an uninterrupted run"

# (parameters, function to call with the share of each finished part) -> pictures by name, uint8 [h, w, 1 or 3]. Every
# host calls it; TensorBoard shows those of the first one.
DrawPictures = Callable[[Params, Callable[[float], None]], dict[str, np.ndarray]]


class Trainer:
    """Training of an experiment in a workdir.

    The experiment is checked on construction, and the workdir before anything is compiled or written.

    Attributes:
      experiment, workdir: the arguments.
      program: the jitted functions of the run.
      batches: step counted from 0 -> the batch on the devices.
      evaluator: evaluates the averaged parameters during and after training.
      draw_pictures: draws pictures of the averaged parameters at each evaluation, if given.
      profiled: the steps to trace, if given.
    """

    def __init__(
        self,
        experiment: Experiment,
        workdir: Path,
        draw_pictures: DrawPictures | None = None,
        profiled: Steps | None = None,
    ):
        """Raises InputError if the experiment cannot be trained or evaluated."""
        config, mesh = experiment.config, experiment.mesh
        self.experiment, self.workdir = experiment, workdir
        self.program = Program(experiment.model, config, mesh)
        self.batches = Batches(experiment.dataset.examples("train"), config, mesh)
        is_on_device(config, self.batches.train)  # raises InputError before anything is compiled
        self.evaluator = Evaluator(experiment)
        self.draw_pictures, self.profiled = draw_pictures, profiled

    def run(self, console: Console) -> tuple[TrainState, Record]:
        """Train to the last step; returns the state and the record of its evaluation.

        Raises:
          InputError: the workdir holds a run of another configuration or no state to resume from, another process
            trains in it, or the run does not make the steps to trace.
          RunError: the loss or its gradient is not finite, or a save failed; earlier checkpoints are kept.
          Interrupted: a signal arrived; the state is saved.
        """
        config, workdir = self.experiment.config, self.workdir
        check_trainable(workdir, config, self.profiled)
        with (
            claimed(workdir, config) as claim,
            shutdown_of_run() as shutdown,
            Checkpoints(workdir, config.checkpoint.keep_every_steps) as checkpoints,
            RunProgress(console, config.train.steps, config.train.batch_size) as progress,
            Profiler(self.profiled, workdir) as profiler,
        ):
            progress.print_line(self._title())
            if note := self.evaluator.size_note():
                progress.print_line(note)
            start, state = checkpoints.newest(lambda step: checkpoints.restore(step, self.program.state)) or (0, None)
            if start:
                progress.resume(start)
                progress.print_line(f"resuming from step {start} of {workdir}")
            if changes := note_origin(self.experiment, workdir, start):
                progress.print_line(f"resuming {changes}; {NO_LONGER_EXACT}")
            with TensorBoardWriter(workdir, config, self.program.state.params, start) as tensorboard:
                metrics = MetricsFile(workdir, start)
                session = _Session(self, claim, checkpoints, shutdown, progress, metrics, tensorboard, profiler)
                try:
                    with self.program.within_memory():
                        return session.run(state, start)
                except RuntimeError as error:
                    hosts.end_if_alone(error)
                    raise

    def _title(self) -> str:
        """'digits:diffenc, seed 0, 1,234,567 parameters, on 4 x TPU v5 lite, in runs/digits-diffenc-seed0'."""
        config = self.experiment.config
        count = sum(leaf.size for leaf in jax.tree.leaves(self.program.state.params))
        return (
            f"{config.name}:{config.arm}, seed {config.seed}, {count:,} parameters, on {versions.device()}, "
            f"in {self.workdir}"
        )


def check_trainable(workdir: Path, config: Config, profiled: Steps | None = None) -> None:
    """Raises InputError if `workdir` holds a run of another configuration, or only parameters to evaluate.

    Raises it too if training in `workdir` does not make the steps `profiled`.
    """
    advice = f"{OTHER_WORKDIR}, or --overwrite, which moves that run aside"
    check_workdir(workdir, config, False, advice)
    with Checkpoints(workdir) as checkpoints:
        step = checkpoints.latest_step()
        require(
            step is None or not checkpoints.holds_ema_only(step),
            f"{workdir} holds averaged parameters and no optimizer state, so training cannot resume from it; {advice}",
        )
    check_parts(workdir, config)
    if profiled is not None:
        profiled.check(config.train.steps, step or 0)


@dataclass
class _Session:
    """One call of `Trainer.run`: its open files, and the calls whose reports have not been read.

    A call stands there by the number of steps before it, that of its own steps, and its report.
    """

    trainer: Trainer
    claim: Claim
    checkpoints: Checkpoints
    shutdown: Shutdown
    progress: RunProgress
    metrics: MetricsFile
    tensorboard: TensorBoardWriter
    profiler: Profiler
    unread: deque[tuple[int, int, CallReport]] = field(default_factory=deque)
    consecutive_skipped: int = 0
    failed_saves: int = 0

    def __post_init__(self):
        self.config = self.trainer.experiment.config
        self.in_bucket = is_remote(self.trainer.workdir)

    def run(self, state: TrainState | None, start: int) -> tuple[TrainState, Record]:
        """Train from `start` on; None: from the first state."""
        config, trainer, steps = self.config, self.trainer, self.config.train.steps
        if start < steps:
            with self.progress.compiling():
                state = trainer.program.init() if state is None else state
                call = compile_call(trainer.program, config, trainer.batches)
        assert state is not None  # a run that is complete has a checkpoint
        done = start
        while done < steps:
            if done and done % config.eval.every_steps == 0:
                self.evaluate(done, state)
            if done % config.log.every_steps == 0:
                state = state.restarted()
            count = 1 if done == start else call_length(config, done, trainer.profiled)
            step = done + count
            if self.profiler.starts_before(done + 1):
                self.read_reports()
                self.profiler.start()
            with annotation(done + 1):
                state, report = call(state, done, count)
            self.unread.append((done, count, report))
            self.read_reports(keep=IN_FLIGHT)
            if done == start:
                self.read_reports()  # so that its time is not that of later steps
            done = step
            if self.profiler.ends_after(step):
                self.save_profile()
            if self.shutdown.requested():
                self.save_and_stop(step, state)
            if step == steps or step % config.checkpoint.every_steps == 0:
                self.save(step, state)
        record = self.evaluate(max(start, steps), state)
        self.finish_saving(max(start, steps), state)
        assert record is not None  # or `evaluate` has raised
        return state, record

    def save(self, step: int, state: TrainState) -> None:
        """Start to save `state`, after all that is logged up to its step."""
        self.read_reports()
        self.claim.check()
        self.tensorboard.begin_file()
        with self.handling_failed_writes(forgiven=self.in_bucket):
            self.metrics.flush()
        self.failed_saves += 1
        with self.handling_failed_writes(forgiven=self.in_bucket and self.failed_saves <= FORGIVEN):
            self.checkpoints.save(step, state)
            self.failed_saves = 0

    def finish_saving(self, step: int, state: TrainState) -> None:
        """Save `state` unless it is saved, and wait for it. Raises RunError if that fails."""
        self.save(step, state)
        for left in reversed(range(ATTEMPTS if self.in_bucket else 1)):
            with self.handling_failed_writes(final=not left, forgiven=True):
                self.checkpoints.save(step, state)
                self.checkpoints.wait()
                self.metrics.flush()
                return
            time.sleep(RETRY_SECONDS)

    def read_reports(self, keep: int = 0) -> None:
        """Wait for calls, and check and log their steps, until at most `keep` reports are unread."""
        while len(self.unread) > keep:
            done, count, report = self.unread.popleft()
            for step, is_finite in enumerate(report.are_finite(count), done + 1):
                self.consecutive_skipped = 0 if is_finite else self.consecutive_skipped + 1
                if self.consecutive_skipped:
                    self.skip_or_stop(step)
            scalars, is_logged = cache(report.meter.scalars), step % self.config.log.every_steps == 0
            if is_logged:
                self.log(step, report.meter, scalars())
            self.progress.advance(step, scalars, is_logged)

    def save_profile(self) -> None:
        """Wait for the traced steps, and write their trace."""
        self.read_reports()
        with self.handling_failed_writes():
            self.progress.print_line(f"profile: {self.profiler.save()}")

    def skip_or_stop(self, step: int) -> None:
        """Report a step that is not finite. Raises RunError if it ends the run."""
        message = f"step {step}: the loss or its gradient is not finite"
        if self.config.train.on_nonfinite == "stop":
            raise RunError(f"{message}; {self.kept()}; train.on_nonfinite=skip leaves such steps out")
        if self.consecutive_skipped == MAX_SKIPPED:
            raise RunError(f"{message}, {MAX_SKIPPED} steps in a row; {self.kept()}")
        if self.consecutive_skipped == 1:
            self.progress.print_line(f"{message}; it is skipped")

    def kept(self, save_failed: bool = False) -> str:
        last = self.checkpoints.complete if save_failed else self.checkpoints.latest_step()
        return f"the checkpoint of step {last} is kept" if last else "there is no checkpoint yet"

    def log(self, step: int, meter: Meter, scalars: dict[str, float]) -> None:
        if self.config.train.on_nonfinite == "skip":
            scalars = scalars | {"skipped_steps": self.config.log.every_steps - float(meter.steps)}
        rate = self.progress.rate(step)
        row = scalars | ({} if rate is None else {"images_per_second": rate})
        if self.metrics.is_new(step, row):
            self.tensorboard.write_training(step, row)
        with self.handling_failed_writes(forgiven=self.in_bucket):
            self.metrics.append(step, row)

    @contextmanager
    def handling_failed_writes(self, final: bool = False, forgiven: bool = False) -> Iterator[None]:
        """Turn a failed write into a RunError if it is the `final` one, or if configured so unless `forgiven`.

        Otherwise it is a warning.
        """
        try:
            yield
        except (SaveFailed, InputError, OSError) as error:
            message, kept = str(error), self.kept(isinstance(error, SaveFailed))
            if isinstance(error, OSError):
                message = ": ".join(str(part) for part in (error.filename, reason(error)) if part)
            if final or (self.config.checkpoint.on_failure == "stop" and not forgiven):
                raise RunError(f"{message}; {kept}") from error
            self.progress.print_line(f"{message}; {kept}, and the run goes on")

    @contextmanager
    def interruptible_task(self, name: str, total: float) -> Iterator[Advance]:
        """As `Display.task`, but each call of what it yields raises Interrupted after a signal."""
        with self.progress.task(name, total) as advance:

            def on_part(part: float = 1) -> None:
                advance(part)
                self.shutdown.check()

            yield on_part

    def evaluate(self, step: int, state: TrainState) -> Record | None:
        """The record of `step`, or None if it cannot be written; a signal saves the state and stops the run."""
        self.read_reports()
        record, evaluator = None, self.trainer.evaluator
        name = f"evaluating {self.config.eval.split} at step {step}"
        try:
            with self.progress.evaluating():
                with self.interruptible_task(name, evaluator.num_batches()) as on_batch:
                    is_last = step >= self.config.train.steps
                    with self.handling_failed_writes(final=is_last, forgiven=self.in_bucket):
                        record = evaluator.record(state.ema, step, self.trainer.workdir, on_batch=on_batch)
                if record is not None:
                    self.log_evaluation(step, record, state.ema)
        except Interrupted:
            self.save_and_stop(step, state)
        return record

    def log_evaluation(self, step: int, record: Record, params: Params) -> None:
        """Report a record, and log it with the pictures of `params`. Raises Interrupted, with nothing logged."""
        split = record["dataset"]["split"]
        self.progress.print_line(f"step {step}: {split} {format_record(record)}")
        row = {f"{split}_{name}": value for name, value in record["bpd"].items()}
        is_new = self.metrics.is_new(step, row)
        pictures = self.pictures(step, params) if hosts.elementwise_max(np.array(is_new)) else {}
        if is_new:
            self.tensorboard.write_evaluation(step, record, pictures)
        with self.handling_failed_writes(forgiven=self.in_bucket):
            self.metrics.append(step, row)

    def pictures(self, step: int, params: Params) -> dict[str, np.ndarray]:
        """The pictures of `params`; none, with a warning, if they cannot be drawn. Raises Interrupted."""
        if self.trainer.draw_pictures is None:
            return {}
        with self.interruptible_task(f"drawing pictures at step {step}", 1.0) as on_part:
            try:
                return self.trainer.draw_pictures(params, on_part)
            except RunError as error:
                self.progress.print_line(f"TensorBoard has no pictures of step {step}: {error}")
                return {}

    def save_and_stop(self, step: int, state: TrainState) -> NoReturn:
        """Save `state` and raise Interrupted, or RunError if saving fails."""
        self.finish_saving(step, state)
        self.progress.print_line(f"stopped by a signal; step {step} is saved, and the same command resumes from there")
        raise Interrupted(self.shutdown.signal)
