"""Costs of a training step: parameters and FLOPs from shapes; memory and time of the compiled step on this machine."""

import time
from typing import Any

import jax
import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.core import versions
from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.lab.costs.load import cpu_seconds, share_of_others
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.parallel.memory import Memory
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.train.flops import count
from diffenc_jax.train.program import TrainingProgram

# The first steps fill caches and, on accelerators, grow the memory pool.
WARM_UP_STEPS = 3


def measure_costs(config: Config, timed_steps: int = 20) -> dict[str, Any]:
    """Costs of training with `config` on all devices of this machine; JSON values. Raises InputError.

    Returns:
      The measured configuration (`config`, `arm`, `config_hash`, `dtype`, `batch_size`, `steps` of the whole training),
      the machine (`device`, `software`), and
      params, params_by_part: numbers of parameters.
      flops_per_step, train_flops: FLOPs of one step (see `train.flops.count`) and of all steps.
      memory_per_step: bytes per device of the compiled step, with the given `model.scan` and `model.remat`; the sum of
        memory_of_state (state and batch) and memory_of_temporaries.
      seconds_per_step, seconds_per_step_quartiles: median and [lower, upper] of `timed_steps` steps, each waited for,
        on training images that lie on the devices.
      cpu_share_of_others: share of the machine's CPU time that other processes used during the measurement; None if
        unknown.
      compile_seconds: time to trace and compile.
    """
    run = BaseRun.load(config)
    model, mesh = run.model, run.mesh
    program = TrainingProgram(model, config, mesh)
    counts = count(config, model.spec)
    start = time.perf_counter()
    step = program.compiled()
    compile_seconds, memory = time.perf_counter() - start, Memory.of(step)
    batches = Batches(run.dataset.split(TRAIN).examples, config, mesh)
    seconds, share = _time_steps(program, step, batches, timed_steps)
    lower, median, upper = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    return {
        **described(config),
        "steps": config.train.steps,
        "params": counts.total_params,
        "params_by_part": counts.params,
        "flops_per_step": counts.flops_per_step,
        "train_flops": counts.flops_per_step * config.train.steps,
        "memory_per_step": memory.total,
        "memory_of_state": memory.state,
        "memory_of_temporaries": memory.temporaries,
        "seconds_per_step": median,
        "seconds_per_step_quartiles": [lower, upper],
        "cpu_share_of_others": share,
        "timed_steps": timed_steps,
        "compile_seconds": compile_seconds,
        "device": versions.device(),
    }


def _time_steps(
    program: TrainingProgram, step: jax.stages.Compiled, batches: Batches, count: int
) -> tuple[list[float], float | None]:
    """Seconds of each of `count` steps after the first ones, and `share_of_others` from the first step on."""
    state, seconds, began = program.start(), [], cpu_seconds()
    for index in range(WARM_UP_STEPS + count):
        batch = jax.block_until_ready(batches(index))
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch, program.seed))
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP_STEPS:], share_of_others(began, cpu_seconds())


def described(config: Config) -> dict[str, Any]:
    """Entries of a measurement that name the configuration and the software, as JSON values."""
    known = {"config": config.name, "arm": config.arm, "config_hash": config.hash, "dtype": config.model.dtype}
    return known | {"batch_size": config.train.batch_size, "software": versions.software()}
