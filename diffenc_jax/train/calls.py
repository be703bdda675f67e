"""Calls of the compiled program: each makes one training step, or several."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.data.images import Batch
from diffenc_jax.parallel.batches import Batches, ResidentFeed, is_on_device
from diffenc_jax.parallel.sharding import IN_FLIGHT
from diffenc_jax.train.profiler import StepRange
from diffenc_jax.train.state import TrainState
from diffenc_jax.train.step import Program, StepFunction, StepReport

# (state, number of steps done, number of steps up to train.steps_per_call) -> (state, report of at least these steps).
Call = Callable[[TrainState, int, int], tuple[TrainState, StepReport]]


def compile_call(program: Program, config: Config, batches: Batches) -> Call:
    """Compile a run's program, and make the function that trains by calls of it.

    It is the program of one step unless the images are on the devices, and on CPUs, since XLA executes convolutions in
    a loop on one thread: on two cores, a step of configs/digits.py takes 1.8 times as long there. Raises RunError if a
    device has too little memory.
    """
    length = config.train.steps_per_call
    if length == 1 or is_cpu(program) or not is_on_device(batches.train):
        return partial(_call_step_by_step, program.compiled(), batches)
    feed = ResidentFeed(batches, length)
    compiled = program.compiled_loop(loop(program.function, feed, length), feed.shapes)
    return lambda state, done, count: compiled(state, feed(done, count), np.int32(count))


def _call_step_by_step(
    compiled: jax.stages.Compiled, batches: Callable[[int], Batch], state: TrainState, done: int, count: int
) -> tuple[TrainState, StepReport]:
    reports: list[StepReport] = []
    for step in range(done, done + count):
        state, report = compiled(state, batches(step))
        reports.append(report)
        if len(reports) > IN_FLIGHT:
            jax.block_until_ready(reports[-1 - IN_FLIGHT].finite)
    return state, StepReport([report.finite for report in reports], reports[-1].meter)


def is_cpu(program: Program) -> bool:
    """Whether a program is for CPUs."""
    return program.mesh.devices.flat[0].platform == "cpu"


def loop(step: StepFunction, feed: ResidentFeed, length: int) -> Callable[..., tuple[TrainState, StepReport]]:
    """The function (state, argument of the feed, count) -> (state, report), of `count` <= `length` steps.

    The number of steps is no constant of the program, so that calls of all lengths execute the same code: the values do
    not depend on where a call ends.
    """

    def train_steps(state, argument, count):
        def one(index, carry):
            state, finite = carry
            state, report = step(state, feed.pick(argument, index))
            return state, finite.at[index].set(report.finite)

        state, finite = jax.lax.fori_loop(0, count, one, (state, jnp.ones(length, bool)))
        return state, StepReport(finite, state.meter)

    return train_steps


def call_length(config: Config, done: int, profiled: StepRange | None = None) -> int:
    """Number of steps of the call after `done` steps: at most train.steps_per_call, up to the next one that is awaited.

    These are steps with a log, checkpoint or evaluation, and the last one. Steps to trace are called one by one.
    """
    intervals = config.log.every_steps, config.checkpoint.every_steps, config.eval.every_steps
    awaited = min(interval - done % interval for interval in intervals)
    longest = min(config.train.steps_per_call, awaited, config.train.steps - done)
    if profiled is None or done >= profiled.last:
        return longest
    return min(longest, max(1, profiled.first - 1 - done))
