"""The training loop: batches in, checkpoints and metrics out; it goes on where it stopped."""

from collections import deque
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
from diffenc_jax.errors import Interrupted, RunError
from diffenc_jax.evaluate import Evaluator, format_record
from diffenc_jax.model import Model
from diffenc_jax.train.batches import Batches
from diffenc_jax.train.checkpoint import Checkpoints
from diffenc_jax.train.joint_shutdown import shutdown_of_run
from diffenc_jax.train.metrics import LogConfig
from diffenc_jax.train.optimizer import TrainConfig
from diffenc_jax.train.progress import RunProgress
from diffenc_jax.train.shutdown import Shutdown
from diffenc_jax.train.state import TrainState
from diffenc_jax.train.step import Report, make_program
from diffenc_jax.train.writer import MetricsWriter

# More steps in flight gain nothing, and without a bound fake CPU devices deadlock.
IN_FLIGHT = 2


@dataclass(frozen=True)
class CheckpointConfig:
    """How often a checkpoint is saved; every `keep_every_steps`-th step's is never deleted."""

    every_steps: int
    keep_every_steps: int

    def __post_init__(self):
        for name, value in vars(self).items():
            require(value >= 1, f"checkpoint.{name} must be at least 1, not {value}")


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
          RunError: the loss or its gradient is no longer finite; the checkpoints before are kept.
          Interrupted: a signal came; the state is saved.
        """
        if hosts.is_first():
            workdirs.claim(self.workdir, self.config)
        with shutdown_of_run() as shutdown, Checkpoints(self.workdir, self.saving.keep_every_steps) as checkpoints:
            state, start = self._restore_or_init(checkpoints)
            if start:
                console.print(f"going on from step {start} of {self.workdir}", highlight=False)
            with (
                RunProgress(console, start, self.settings.steps, self.settings.batch_size) as progress,
                MetricsWriter(self.workdir, start) as writer,
            ):
                return _Run(self, checkpoints, shutdown, progress, writer).go(state, start)

    def _restore_or_init(self, checkpoints: Checkpoints) -> tuple[TrainState, int]:
        step = checkpoints.latest_step()
        if step is None:
            return self.program.init(), 0
        return checkpoints.restore(step, self.program.state), step


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
            self._collect(IN_FLIGHT)
            if done == start:
                self._collect(0)
                self._progress.resume(step)  # until here the time went into compiling
            stopping = self._shutdown.requested()
            if stopping or step == steps or step % trainer.saving.every_steps == 0:
                self._collect(0)
                self._checkpoints.save(step, state)
            if stopping:
                self._stop(step)
        record = self._evaluate(max(start, steps), state)
        self._checkpoints.wait()
        return state, record

    def _collect(self, keep: int) -> None:
        """Looks at finished steps until at most `keep` are in flight."""
        while len(self._pending) > keep:
            step, report = self._pending.popleft()
            if not report.finite:
                last = self._checkpoints.latest_step()
                kept = f"the checkpoint of step {last} is kept" if last else "there is no checkpoint yet"
                raise RunError(f"step {step}: the loss or its gradient is not finite; {kept}")
            self._progress.advance(step)
            if step % self._trainer.log_every == 0:
                scalars = report.meter.scalars()
                rate = self._progress.log(step, scalars)
                self._writer.write(step, scalars | {"images_per_second": rate})

    def _evaluate(self, step: int, state: TrainState) -> dict[str, Any]:
        """The record of `step`; saves first if a signal comes while it is made."""
        self._collect(0)
        trainer = self._trainer
        try:
            record = trainer.evaluator.record(state.ema, step, trainer.workdir, on_batch=self._shutdown.check)
        except Interrupted:
            self._checkpoints.save(step, state)
            self._stop(step)
        split = record["dataset"]["split"]
        self._writer.write(step, {f"{split}_{name}": value for name, value in record["bpd"].items()})
        self._progress.say(f"step {step}: {split} {format_record(record)}")
        return record

    def _stop(self, step: int) -> NoReturn:
        """Waits for the save of `step` and raises Interrupted."""
        self._checkpoints.wait()
        self._progress.say(f"stopped by a signal; step {step} is saved, the same command goes on from there")
        raise Interrupted(self._shutdown.signal)
