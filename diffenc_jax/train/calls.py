"""Calls of the compiled program: each makes one training step, or several."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.parallel.batches import Batches, ResidentFeed, is_on_device
from diffenc_jax.train.profiler import StepRange
from diffenc_jax.train.state import TrainState
from diffenc_jax.train.step import Program, StepFunction, StepReport

# (state, number of steps done, number of steps to make) -> (state, report of at least these steps).
Call = Callable[[TrainState, int, int], tuple[TrainState, StepReport]]


def compile_call(program: Program, config: Config, batches: Batches) -> tuple[Call, int]:
    """Compile a run's program; returns the function that trains by calls of it, and the most steps of a call.

    It is the program of one step unless the images are on the devices, and on CPUs, since XLA executes convolutions in
    a loop on one thread: on two cores, a step of configs/digits.py takes 1.8 times as long there. Raises RunError if a
    device has too little memory.
    """
    length = config.train.steps_per_call
    if length == 1 or is_cpu(program) or not is_on_device(batches.train):
        step = program.compiled()
        return lambda state, done, count: step(state, batches(done)), 1
    feed = ResidentFeed(batches, length)
    compiled = program.compiled_loop(loop(program.function, feed, length), feed.shapes)
    return lambda state, done, count: compiled(state, feed(done, count), np.int32(count)), length


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


def call_length(config: Config, most: int, done: int, profiled: StepRange | None = None) -> int:
    """Number of steps of the call after `done` steps: at most `most`, up to the next one that is awaited.

    These are steps with a log, checkpoint or evaluation, and the last one. Steps to trace are called one by one.
    """
    intervals = config.log.every_steps, config.checkpoint.every_steps, config.eval.every_steps
    awaited = min(interval - done % interval for interval in intervals)
    longest = min(most, awaited, config.train.steps - done)
    if profiled is None or done >= profiled.last:
        return longest
    return min(longest, max(1, profiled.first - 1 - done))
