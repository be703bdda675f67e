"""The training loop: it feeds batches to the step, and resumes an interrupted run."""

from pathlib import Path

import jax
from clu.periodic_actions import PeriodicCallback
from rich.console import Console

from diffenc_jax.config import Config
from diffenc_jax.core.errors import require
from diffenc_jax.core.terminal import print_line
from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.files import OTHER_WORKDIR
from diffenc_jax.runs.hashes import check_dtypes
from diffenc_jax.runs.origin import check_parts
from diffenc_jax.runs.record_types import Record
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.runs.workdir import set_aside
from diffenc_jax.train.outputs import DrawSamples, Outputs
from diffenc_jax.train.profiler import STEP, StepRange
from diffenc_jax.train.program import TrainingProgram
from diffenc_jax.train.state import TrainState


def train(
    run: BaseRun,
    workdir: Path,
    console: Console,
    draw_samples: DrawSamples | None = None,
    overwrite: bool = False,
    profiled: StepRange | None = None,
) -> tuple[TrainState, Record]:
    """Train to the last step, and evaluate; returns the last state and the record of its evaluation.

    The run is checked first, then the workdir, before anything is compiled or written.

    Args:
      workdir: folder of the run. If it holds a run, this run is resumed.
      console: where progress is shown.
      draw_samples: draws samples of the averaged parameters at each evaluation, if given.
      overwrite: whether a run in the workdir is moved to WORKDIR.1, .2, ..., and training starts anew.
      profiled: steps to trace.

    Raises:
      InputError: the run cannot be trained or evaluated, the workdir holds a run of another configuration or no state
        to resume from, another process trains in it, or the run does not make the steps to trace.
      RunError: the loss, its gradient, the updated parameters or the final bits/dim are not finite, or a save failed;
        earlier checkpoints are kept.
      Interrupted: a signal arrived; the state is saved.
    """
    program = TrainingProgram(run.model, run.config, run.mesh)
    check_dtypes(program.state)
    outputs = Outputs(run, workdir, console, program.state, draw_samples, profiled)
    batches = Batches(run.dataset.split(TRAIN).examples, run.config, run.mesh)
    if overwrite and (aside := set_aside(workdir)):
        print_line(console, f"{workdir} is moved to {aside}")
    done = check_trainable(StoredRun(workdir), run.config)
    if profiled is not None:
        profiled.check(run.config.train.steps, done)
    with outputs, hosts.ending_if_alone(), program.within_memory():
        return _make_steps(run.config, program, batches, outputs)


def check_trainable(run: StoredRun, config: Config) -> int:
    """Check that `config` can be trained as `run`; returns the step to continue from, 0 without a checkpoint.

    Raises InputError if the workdir holds a run of another configuration or of other sources of its parts, or only
    parameters to evaluate.
    """
    advice = f"{OTHER_WORKDIR}, or --overwrite, which moves that run aside"
    run.check(config, False, advice)
    with Checkpoints(run) as checkpoints:
        step = checkpoints.latest_step()
        resumes = step is None or not checkpoints.holds_ema_only(step)
    holds = f"{run.workdir} holds averaged parameters and no optimizer state, so training cannot resume from it"
    require(resumes, f"{holds}; {advice}")
    check_parts(run, config, trains=True)
    return step or 0


def _make_steps(
    config: Config, program: TrainingProgram, batches: Batches, outputs: Outputs
) -> tuple[TrainState, Record]:
    """Make the steps from the restored state on; returns the last state and its record."""
    steps, (start, state) = config.train.steps, outputs.restore()
    if start < steps:
        with outputs.progress.compiling():
            state = program.start() if state is None else state
            train_step = program.compiled()
    assert state is not None  # a run that is complete has a checkpoint
    evaluate = PeriodicCallback(every_steps=config.eval.every_steps, callback_fn=outputs.evaluate)
    save = PeriodicCallback(every_steps=config.checkpoint.every_steps, on_steps=[steps], callback_fn=outputs.save)
    for done in range(start, steps):
        if done:
            evaluate(done, state=state)
        if done % config.log.every_steps == 0:
            state = state.restarted()
        outputs.profiler.before(done + 1, state)
        with jax.profiler.StepTraceAnnotation(STEP, step_num=done + 1):
            state, report = train_step(state, batches(done), program.seed)
        outputs.after_step(done + 1, state, report)
        save(done + 1, state=state)
    return state, outputs.finish(max(start, steps), state)
