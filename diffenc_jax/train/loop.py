"""The training loop: it feeds batches, writes checkpoints and metrics, and resumes an interrupted run."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np
from clu.metric_writers import MetricWriter, MultiWriter
from clu.parameter_overview import get_parameter_overview
from clu.periodic_actions import PeriodicCallback
from rich.console import Console

from diffenc_jax.config import flatten
from diffenc_jax.core import parts, versions
from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import InputError, Interrupted, NotFinite, RunError, reason
from diffenc_jax.core.numbers import record_line
from diffenc_jax.core.progress import RunProgress
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.model import Params
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.parallel.sharding import IN_FLIGHT
from diffenc_jax.parallel.shutdown import shutdown_of_run
from diffenc_jax.runs.checkpoint import Checkpoints, SaveFailed
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.runs.hashes import check_dtypes
from diffenc_jax.runs.metrics import evaluated_bpd, read_metrics
from diffenc_jax.runs.origin import note_origin
from diffenc_jax.runs.record_types import Record
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.runs.trained import check_trainable
from diffenc_jax.runs.workdir import locked_run
from diffenc_jax.train import overfitting
from diffenc_jax.train.profiler import STEP, Profiler, StepRange
from diffenc_jax.train.state import TrainState, averages
from diffenc_jax.train.step import Program, StepReport
from diffenc_jax.train.writer import Background, Guard, JsonLines

# A run ends after this many consecutive steps that are not finite, since its parameters are of no use.
MAX_SKIPPED = 100
# For buckets, where requests fail now and then: attempts to save the last state, seconds between these attempts, and
# the number of consecutive failed saves that do not end the run.
ATTEMPTS, RETRY_SECONDS, FORGIVEN = 3, 10.0, 3

# (parameters, function to call with the share of each finished part) -> a picture of samples, uint8 [h, w, 1 or 3].
DrawSamples = Callable[[Params, Callable[[float], None]], np.ndarray]


class Trainer:
    """Training of an experiment in a workdir.

    The experiment is checked on construction, and the workdir before anything is compiled or written.

    Attributes:
      experiment, workdir: the arguments.
      program: the jitted functions of the run.
      batches: step counted from 0 -> the batch on the devices.
      evaluator: evaluates the averaged parameters during and after training.
      draw_samples: draws samples of the averaged parameters at each evaluation, if given.
      writers: the writers that `log.writers` names, by name.
    """

    def __init__(self, experiment: Experiment, workdir: Path, draw_samples: DrawSamples | None = None):
        """Raises InputError if the experiment cannot be trained or evaluated."""
        self.experiment, self.config, self.workdir = experiment, experiment.config, workdir
        self.evaluator = Evaluator(experiment)
        self.draw_samples = draw_samples
        self.writers = {name: parts.load("writer", name) for name in self.config.log.writers}
        self.program = Program(experiment.model, self.config, experiment.mesh)
        check_dtypes(self.program.state)
        self.batches = Batches(experiment.dataset.examples("train"), self.config, experiment.mesh)

    def run(self, console: Console, profiled: StepRange | None = None) -> tuple[TrainState, Record]:
        """Train to the last step, and trace the steps `profiled`; returns the state and the record of its evaluation.

        Raises:
          InputError: the workdir holds a run of another configuration or no state to resume from, another process
            trains in it, or the run does not make the steps to trace.
          RunError: the loss, its gradient, the updated parameters or the final bits/dim are not finite, or a save
            failed; earlier checkpoints are kept.
          Interrupted: a signal arrived; the state is saved.
        """
        done = check_trainable(StoredRun(self.workdir), self.config)
        if profiled is not None:
            profiled.check(self.config.train.steps, done)
        with ExitStack() as stack:
            training = _Training(self, stack, console, profiled)
            try:
                with self.program.within_memory():
                    return training.finish()
            except RuntimeError as error:
                hosts.end_if_alone(error)
                raise


class _Training:
    """A training in progress, with everything that is open until it ends."""

    def __init__(self, trainer: Trainer, stack: ExitStack, console: Console, profiled: StepRange | None):
        """Open the workdir of `trainer` until `stack` is closed, and restore the newest state."""
        self._trainer, self._program, self._workdir = trainer, trainer.program, trainer.workdir
        self._config, self._in_bucket, enter = trainer.config, is_remote(trainer.workdir), stack.enter_context
        # The steps whose reports have not been read.
        self._unread: deque[tuple[int, StepReport]] = deque()
        self._consecutive_skipped = self._failed_saves = 0
        config, workdir = self._config, self._workdir
        (self._lock, self._stored), self._shutdown = enter(locked_run(workdir, config)), enter(shutdown_of_run())
        self._checkpoints = enter(Checkpoints(self._stored, config.checkpoint.keep_every_steps, self._program.state))
        self._progress = enter(RunProgress(console, config.train.steps, config.train.batch_size))
        self._profiler = enter(Profiler(profiled, workdir, self._progress.print_line))
        self._start, self._state = self._restore()
        self._saved = self._start
        own = trainer.writers if hosts.is_first() else {}
        guards = [Guard(name, partial(self._described, part)) for name, part in own.items()]
        self._writer = enter(closing(MultiWriter([JsonLines(workdir, self._start), *map(Background, guards)])))
        # CLU also passes the time `t` to a callback.
        self._log = PeriodicCallback(every_steps=config.log.every_steps, callback_fn=self._log_metrics)

    def _restore(self) -> tuple[int, TrainState | None]:
        """The step and state of the newest intact checkpoint, (0, None) without one; prints what is trained."""
        config, workdir, say, checkpoints = self._config, self._workdir, self._progress.print_line, self._checkpoints
        count = sum(leaf.size for leaf in jax.tree.leaves(self._program.state.params))
        name, dataset = f"{config.name}:{config.arm}, seed {config.seed}", self._trainer.experiment.dataset
        say(f"{name}, {count:,} parameters, on {versions.device()}, in {workdir}")
        say(f"images: {dataset.name}, version {dataset.version}, {len(dataset.splits['train']):,} for training")
        start, state = checkpoints.newest(lambda step: checkpoints.restore(step, self._program.state)) or (0, None)
        if start:
            self._progress.resume(start)
            say(f"resuming from step {start} of {workdir}")
        elif self._stored.origin.environments:
            say(f"the run in {workdir} ended before its first checkpoint; training starts again")
        if changes := note_origin(self._trainer.experiment, self._stored, start):
            say(f"resuming {changes}; results are no longer bit for bit those of an uninterrupted run")
        return start, state

    def finish(self) -> tuple[TrainState, Record]:
        """Train to the last step; returns the state and the record of its evaluation."""
        config, steps, done = self._config, self._config.train.steps, self._start
        state, self._state = self._state, None  # the first step reuses its memory
        if done < steps:
            with self._progress.compiling():
                state = self._program.init() if state is None else state
                train_step = self._program.compiled()
        assert state is not None  # a run that is complete has a checkpoint
        save = PeriodicCallback(every_steps=config.checkpoint.every_steps, on_steps=[steps], callback_fn=self._save)
        evaluate = PeriodicCallback(every_steps=config.eval.every_steps, callback_fn=self._evaluate)
        while done < steps:
            if done:
                evaluate(done, state=state)
            if done % config.log.every_steps == 0:
                state = state.restarted()
            self._profiler.before(done + 1, state)
            with jax.profiler.StepTraceAnnotation(STEP, step_num=done + 1):
                state, report = train_step(state, self._trainer.batches(done), self._program.seed)
            done += 1
            self._unread.append((done, report))
            # Wait for the first step, so that its time does not count as the time of later steps.
            self._read_reports(keep=0 if done == self._start + 1 else IN_FLIGHT)
            with self._handling_failed_writes():
                self._profiler.after(done, state)
            if self._shutdown.requested():
                self._save_and_stop(done, state)
            save(done, state=state)
        record = self._evaluate(done, state)
        assert record is not None  # or `_evaluate` has raised
        self._finish_saving(done, state)
        if caution := overfitting.caution(self._stored, record):
            self._progress.print_line(caution)
        return state, record

    def _described(self, part: Callable[[str], MetricWriter]) -> MetricWriter:
        """A writer, made by `part`, that has written the configuration and the shapes of the parameters."""
        writer, values = part(str(self._workdir)), self._config.to_dict()
        overview = get_parameter_overview(self._program.state.params, include_stats=False)
        texts = {"config": json.dumps(values, indent=2), "parameters": overview}
        writer.write_hparams(flatten(values))
        writer.write_texts(0, {name: f"```\n{text}\n```" for name, text in texts.items()})
        return writer

    def _read_reports(self, keep: int = 0) -> None:
        """Wait for steps, and check and log them, until at most `keep` reports are unread."""
        while len(self._unread) > keep:
            step, report = self._unread.popleft()
            self._consecutive_skipped = 0 if report.finite else self._consecutive_skipped + 1
            if self._consecutive_skipped:
                self._skip_or_stop(step)
            is_logged = self._log(step, report=report)
            self._progress.show_step(step, partial(averages, report.meter), is_logged)

    def _log_metrics(self, step: int, report: StepReport, t: float = 0.0) -> None:
        """Write the averages since the last log."""
        row = averages(report.meter)
        if self._config.train.on_nonfinite == "skip":
            row["skipped_steps"] = self._config.log.every_steps - float(report.meter.grad_norm.weight)
        if (rate := self._progress.rate(step)) is not None:
            row["images_per_second"] = rate
        self._write(step, "train", row)

    def _write(self, step: int, group: str, row: dict[str, float]) -> None:
        """Write a row of metrics."""
        with self._handling_failed_writes():
            self._writer.write_scalars(step, {f"{group}/{name}": value for name, value in row.items()})

    def _skip_or_stop(self, step: int) -> None:
        """Report a step that is not finite. Raises RunError if it ends the run."""
        message = f"step {step}: the loss, its gradient or the updated parameters are not finite"
        if self._config.train.on_nonfinite == "stop":
            raise RunError(f"{message}; {self._kept()}; train.on_nonfinite=skip leaves such steps out")
        if self._consecutive_skipped == MAX_SKIPPED:
            raise RunError(f"{message}, {MAX_SKIPPED} steps in a row; {self._kept()}")
        if self._consecutive_skipped == 1:
            self._progress.print_line(f"{message}; it is skipped")

    def _save(self, step: int, state: TrainState, t: float = 0.0, final: bool = False) -> None:
        """Start to save `state`, once everything up to its step is logged. Raises RunError if it is not finite.

        If all steps since the last save were skipped, only the `final` state is saved: another save would push an older
        checkpoint out.
        """
        self._read_reports()
        if not final and 0 < step - self._saved <= self._consecutive_skipped:
            return
        if step != self._saved and not state.is_finite():
            raise RunError(f"step {step}: the parameters are not finite, and are not saved; {self._kept()}")
        self._lock.check()
        with self._handling_failed_writes():
            self._writer.flush()
        self._failed_saves += 1
        with self._handling_failed_writes(too_many=self._failed_saves > FORGIVEN):
            self._checkpoints.save(step, state)
            self._failed_saves, self._saved = 0, step

    def _finish_saving(self, step: int, state: TrainState) -> None:
        """Save `state` unless it is saved, and wait for it. Raises RunError if that fails."""
        self._save(step, state, final=True)
        for left in reversed(range(ATTEMPTS if self._in_bucket else 1)):
            with self._handling_failed_writes(final=not left):
                self._checkpoints.save(step, state)
                self._checkpoints.wait()
                self._writer.flush()
                return
            time.sleep(RETRY_SECONDS)

    def _save_and_stop(self, step: int, state: TrainState) -> NoReturn:
        """Save `state` and raise Interrupted, or RunError if saving fails."""
        self._finish_saving(step, state)
        self._progress.print_line(f"stopped by a signal; step {step} is saved, and the same command resumes from there")
        raise Interrupted(self._shutdown.signal)

    @contextmanager
    def _handling_failed_writes(self, final: bool = False, too_many: bool = False) -> Iterator[None]:
        """Turn a failed write into a RunError if it is the `final` one or if configured so, otherwise into a warning.

        In a bucket it is a warning whatever is configured, unless there are `too_many`.
        """
        try:
            yield
        except (SaveFailed, InputError, OSError) as error:
            message, kept = str(error), self._kept(write_failed=True)
            if isinstance(error, OSError):
                message = ": ".join(str(part) for part in (error.filename, reason(error)) if part)
            stops = self._config.checkpoint.on_failure == "stop" and (too_many or not self._in_bucket)
            if final or stops:
                raise RunError(f"{message}; {kept}") from error
            self._progress.print_line(f"{message}; {kept}, and the run goes on")

    def _kept(self, write_failed: bool = False) -> str:
        last = self._checkpoints.complete if write_failed else self._checkpoints.latest_step()
        return f"the checkpoint of step {last} is kept" if last else "there is no checkpoint yet"

    def _best(self) -> str:
        """Part of a message: the best of the evaluated checkpoints, or the newest one."""
        self._checkpoints.wait()
        bits = evaluated_bpd(read_metrics(self._workdir))
        best = min(bits.keys() & set(self._checkpoints.steps()), key=lambda step: bits[step], default=0)
        return f"the checkpoint of step {best} has {bits[best]:.4f}" if best else self._kept()

    def _evaluate(self, step: int, state: TrainState, t: float = 0.0) -> Record | None:
        """The record of `step`, or None if it cannot be written; a signal saves the state and stops the run."""
        self._read_reports()
        record, split, is_last = None, self._config.eval.split, step >= self._config.train.steps
        try:
            with self._progress.evaluating():
                name, total = f"evaluating {split} at step {step}", self._trainer.evaluator.num_batches()
                with self._progress.task(name, total) as advance, self._handling_failed_writes(final=is_last):
                    on_batch = self._shutdown.checking(advance)
                    record = self._trainer.evaluator.record(state.ema, step, self._stored, on_batch=on_batch).record
                if record is not None:
                    self._progress.print_line(record_line(record))
                    self._write(step, "eval", {f"{split}_{name}": value for name, value in record["bpd"].items()})
                    self._write_samples(step, state.ema)
        except Interrupted:
            self._save_and_stop(step, state)
        except NotFinite as error:
            if is_last:
                raise RunError(f"step {step}: {error}; {self._best()}") from error
            self._progress.print_line(f"step {step}: {error}")
        return record

    def _write_samples(self, step: int, params: Params) -> None:
        """Draw samples of `params` and write a picture of them, or say why there is none. Raises Interrupted."""
        draw_samples = self._trainer.draw_samples
        if draw_samples is None:
            return
        with self._progress.task(f"drawing samples at step {step}", 1.0) as advance:
            try:
                picture = draw_samples(params, self._shutdown.checking(advance))
                self._writer.write_images(step, {"eval/samples": picture})
            except RunError as error:
                self._progress.print_line(f"no samples of step {step}: {error}")
