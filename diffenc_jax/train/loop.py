"""The training loop: batches in, checkpoints and metrics out; it goes on where it stopped."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jax.sharding import Mesh
from ml_collections import ConfigDict
from rich.console import Console

from diffenc_jax import hosts
from diffenc_jax import workdir as workdirs
from diffenc_jax.config import require, unpack
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.errors import Interrupted, RunError, lookup
from diffenc_jax.evaluate import Evaluator
from diffenc_jax.model import Model
from diffenc_jax.records import format_record
from diffenc_jax.train import sharding
from diffenc_jax.train.batches import Batches
from diffenc_jax.train.checkpoint import Checkpoints, SaveFailed
from diffenc_jax.train.joint_shutdown import shutdown_of_run
from diffenc_jax.train.metrics import LogConfig, Meter
from diffenc_jax.train.optimizer import TrainConfig
from diffenc_jax.train.progress import RunProgress
from diffenc_jax.train.shutdown import Shutdown
from diffenc_jax.train.state import TrainState
from diffenc_jax.train.step import Report, make_program
from diffenc_jax.train.writer import MetricsWriter
from diffenc_jax.workdir import Row

# Steps in a row that are not finite: parameters from which none is are not worth computing on.
MAX_SKIPPED = 100


@dataclass(frozen=True)
class CheckpointConfig:
    """How often a checkpoint is saved; every `keep_every_steps`-th step's is never deleted.

    `on_failure`: of a save or a log, for want of space say, 'stop', or 'go_on' with what was saved before.
    """

    every_steps: int
    keep_every_steps: int
    on_failure: str

    def __post_init__(self):
        for name in ("every_steps", "keep_every_steps"):
            value = getattr(self, name)
            require(value >= 1, f"checkpoint.{name} must be at least 1, not {value}")
        lookup("checkpoint.on_failure", self.on_failure, dict.fromkeys(("stop", "go_on")))


class Trainer:
    """A run: everything checked on construction, before anything is compiled or written."""

    def __init__(self, model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh, workdir: Path):
        self.config, self.dataset, self.mesh, self.workdir = config, dataset, mesh, workdir
        self.settings = unpack(TrainConfig, config.train, "train")
        self.log_every = unpack(LogConfig, config.log, "log").every_steps
        self.program = make_program(model, config, mesh)
        self.saving = unpack(CheckpointConfig, config.checkpoint, "checkpoint")
        self.batch = Batches(dataset.splits["train"], config, mesh)
        self.evaluator = Evaluator(model, config, dataset, mesh)

    def run(self, console: Console) -> tuple[TrainState, dict[str, Any]]:
        """Trains to the last step; returns the state and the record of its evaluation.

        Raises:
          InputError: another process trains in the workdir.
          RunError: the loss or its gradient is no longer finite, or a save failed; the checkpoints before are kept.
          Interrupted: a signal came; the state is saved.
        """
        with (
            workdirs.claimed(self.workdir, self.config),
            shutdown_of_run() as shutdown,
            Checkpoints(self.workdir, self.saving.keep_every_steps) as checkpoints,
        ):
            state, start = self._restore_or_init(checkpoints)
            if start:
                console.print(f"going on from step {start} of {self.workdir}", highlight=False)
            with (
                RunProgress(console, start, self.settings.steps, self.settings.batch_size) as progress,
                MetricsWriter(self.workdir, start) as writer,
            ):
                try:
                    return _Run(self, checkpoints, shutdown, progress, writer).go(state, start)
                except RuntimeError as error:
                    hosts.end_if_alone(error)
                    raise

    def _restore_or_init(self, checkpoints: Checkpoints) -> tuple[TrainState, int]:
        found = checkpoints.newest(lambda step: checkpoints.restore(step, self.program.state))
        step, state = found or (0, self.program.init())
        return state, step


class _Run:
    """One call of `Trainer.run`: its open files, and the steps that are in flight."""

    def __init__(
        self,
        trainer: Trainer,
        checkpoints: Checkpoints,
        shutdown: Shutdown,
        progress: RunProgress,
        writer: MetricsWriter,
    ):
        self._trainer, self._checkpoints, self._shutdown = trainer, checkpoints, shutdown
        self._progress, self._writer = progress, writer
        self._pending: deque[tuple[int, Report]] = deque()
        self._skipped = 0  # steps in a row

    def go(self, state: TrainState, start: int) -> tuple[TrainState, dict[str, Any]]:
        trainer, steps = self._trainer, self._trainer.settings.steps
        train_step = trainer.program.compiled() if start < steps else None
        for done in range(start, steps):
            if done and done % trainer.evaluator.settings.every_steps == 0:
                self._evaluate(done, state)
                self._progress.resume(done)
            state, report = train_step(state, trainer.batch(done))
            step = done + 1
            self._pending.append((step, report))
            self._collect(sharding.IN_FLIGHT)
            if done == start:
                self._collect(0)
                self._progress.resume(step)  # until here the time went into compiling
            stopping = self._shutdown.requested()
            if stopping:
                self._save_and_stop(step, state)
            if step == steps or step % trainer.saving.every_steps == 0:
                self._collect(0)
                with self._failing(last=step == steps):
                    self._checkpoints.save(step, state)
        record = self._evaluate(max(start, steps), state)
        with self._failing(last=True):
            self._checkpoints.wait()
        return state, record

    def _collect(self, keep: int) -> None:
        """Looks at finished steps until at most `keep` are in flight."""
        while len(self._pending) > keep:
            step, report = self._pending.popleft()
            self._skipped = 0 if report.finite else self._skipped + 1
            if self._skipped:
                self._skip(step)
            self._progress.advance(step)
            if step % self._trainer.log_every == 0:
                self._log(step, report.meter)

    def _skip(self, step: int) -> None:
        """Says that `step` is not finite, and raises RunError where that ends the run."""
        what = f"step {step}: the loss or its gradient is not finite"
        if self._trainer.settings.on_nonfinite == "stop":
            raise RunError(f"{what}; {self._kept()}; train.on_nonfinite=skip leaves such steps out")
        if self._skipped == MAX_SKIPPED:
            raise RunError(f"{what}, as were the {MAX_SKIPPED - 1} before it; {self._kept()}")
        if self._skipped == 1:
            self._progress.say(f"{what}; it is skipped")

    def _kept(self) -> str:
        last = self._checkpoints.latest_step()
        return f"the checkpoint of step {last} is kept" if last else "there is no checkpoint yet"

    def _log(self, step: int, meter: Meter) -> None:
        scalars = meter.scalars()
        if self._trainer.settings.on_nonfinite == "skip":
            scalars["skipped_steps"] = self._trainer.log_every - float(meter.steps)
        rate = self._progress.log(step, scalars)
        self._write(step, scalars | {"images_per_second": rate})

    def _write(self, step: int, scalars: Row) -> None:
        with self._failing():
            self._writer.write(step, scalars)

    @contextmanager
    def _failing(self, last: bool = False) -> Iterator[None]:
        """Where something may not be written: says what, and goes on if so configured and it is not the `last` thing.

        Raises RunError otherwise; the checkpoints before are kept.
        """
        try:
            yield
        except (SaveFailed, OSError) as error:
            what = str(error)
            if isinstance(error, OSError):  # of which a write does not know its file's name
                what = ": ".join(part for part in (error.filename, error.strerror) if part)
            if last or self._trainer.saving.on_failure == "stop":
                raise RunError(f"{what}; {self._kept()}") from error
            self._progress.say(f"{what}; {self._kept()}, and the run goes on")

    def _evaluate(self, step: int, state: TrainState) -> dict[str, Any] | None:
        """The record of `step`, or None if it cannot be written; saves first if a signal comes while it is made."""
        self._collect(0)
        trainer, record = self._trainer, None
        try:
            with self._failing(last=step >= self._trainer.settings.steps):
                record = trainer.evaluator.record(state.ema, step, trainer.workdir, on_batch=self._shutdown.check)
        except Interrupted:
            self._save_and_stop(step, state)
        if record is None:
            return None
        split = record["dataset"]["split"]
        self._write(step, {f"{split}_{name}": value for name, value in record["bpd"].items()})
        self._progress.say(f"step {step}: {split} {format_record(record)}")
        return record

    def _save_and_stop(self, step: int, state: TrainState) -> NoReturn:
        """Saves and raises Interrupted, or RunError if that fails."""
        self._collect(0)
        with self._failing(last=True):
            self._checkpoints.save(step, state)
            self._checkpoints.wait()
        self._progress.say(f"stopped by a signal; step {step} is saved, the same command goes on from there")
        raise Interrupted(self._shutdown.signal)
