"""Compiled training steps on random images that lie on the devices, and timings of calls."""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import records
from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.core import runtime
from diffenc_jax.data.images import Batch
from diffenc_jax.data.sources import spec_of
from diffenc_jax.lab.costs.training_step import WARM_UP_STEPS
from diffenc_jax.model import build
from diffenc_jax.train.program import StepReport, TrainingProgram
from diffenc_jax.train.state import TrainState


class CompiledStep(NamedTuple):
    """A compiled training step.

    Attributes:
      pixel_levels: number of values of a pixel.
      times: what `compile_timed` took.
    """

    program: TrainingProgram
    step: jax.stages.Compiled
    pixel_levels: int
    times: dict[str, float]


def compile_step(config: Config, mesh: Mesh) -> CompiledStep:
    """Compile the training step of `config` for the devices of `mesh`; no data set is needed."""
    spec = spec_of(config)
    program = TrainingProgram(build(config, spec), config, mesh)
    step, times = compile_timed(lambda: program.step.lower(program.state, program.batch, program.seed))
    runtime.return_freed_memory()
    return CompiledStep(program, step, spec.pixel_levels, times)


def compile_timed(lower: Callable[[], jax.stages.Lowered]) -> tuple[jax.stages.Compiled, dict[str, float]]:
    """A compiled program, and the seconds to trace it, to compile it, and for both, also of CPU time of all threads."""
    start, cpu_start = time.perf_counter(), time.process_time()
    lowered = lower()
    traced = time.perf_counter()
    program = lowered.compile()
    compiled, cpu = time.perf_counter(), time.process_time() - cpu_start
    return program, {
        "trace_seconds": traced - start,
        "compile_seconds": compiled - traced,
        "trace_and_compile_seconds": compiled - start,
        "trace_and_compile_cpu_seconds": cpu,
    }


class Training:
    """A training run on one batch of random images. A call starts a step, and returns the next state and its report."""

    def __init__(self, compiled: CompiledStep):
        program, rng = compiled.program, np.random.default_rng(0)
        self._step, self.state, self._seed = compiled.step, program.start(), program.seed
        labels = program.batch.labels
        images = Batch(
            rng.integers(compiled.pixel_levels, size=program.batch.data.shape, dtype=np.uint8),
            None if labels is None else np.zeros(labels.shape, labels.dtype),
        )
        self._batch = jax.device_put(images, program.batch.data.sharding)

    def __call__(self) -> tuple[TrainState, StepReport]:
        self.state, report = self._step(self.state, self._batch, self._seed)
        return self.state, report


def call_seconds(
    call: Callable[[], Any], repeats: int, warm_up: int = WARM_UP_STEPS, at_most: float = float("inf")
) -> list[float]:
    """Seconds of each of `repeats` calls, whose arrays are waited for, after `warm_up` others.

    There are fewer, at least one, if all calls together take more than `at_most` seconds.
    """
    seconds, start = [], time.perf_counter()
    for number in range(warm_up + repeats):
        before = time.perf_counter()
        jax.block_until_ready(call())
        after = time.perf_counter()
        if number >= warm_up:
            seconds.append(after - before)
            if after - start > at_most:
                break
    return seconds


def step_record(step: Callable[[], Any], steps: int) -> dict[str, Any]:
    """Record of a training step that a call makes: `timed_steps`, `step_seconds` with quartiles, `step_cpu_seconds`.

    The last is the CPU time per step of all threads, the first steps included.
    """
    start = time.process_time()
    seconds = records.spread("step_seconds", call_seconds(step, steps))
    cpu = time.process_time() - start
    return {**seconds, "step_cpu_seconds": cpu / (WARM_UP_STEPS + steps), "timed_steps": steps}


def peak_bytes() -> int:
    """The largest memory so far: of the process on a CPU, otherwise of the first device."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics:
        return statistics["peak_bytes_in_use"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
