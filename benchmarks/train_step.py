"""Time and memory of a configuration's training step on one device of this machine, as one line of JSON.

Traces, compiles and runs the step on random images that lie on the device; no data set is needed. In the record,
step_seconds is the median over --steps steps, each waited for, after a few others;
peak_bytes is the largest memory so far, of the process on a CPU, otherwise of the device;
moved_bytes is by the compiler's count, which counts the body of a loop once;
flops_per_step is what the networks need (see `train.flops.count`), whatever is computed;
matmul_share is the share of the machine's rate of matrix products (see `matmul_flops_per_second`) that they reach.
"""

import argparse
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import records

from diffenc_jax.commands.arguments import add_config, load_arguments_config, positive
from diffenc_jax.core import process
from diffenc_jax.data.images import Batch
from diffenc_jax.model import build, spec_of
from diffenc_jax.model.registry import DTYPES
from diffenc_jax.parallel.memory import Memory
from diffenc_jax.parallel.mesh import make_mesh
from diffenc_jax.studies.compile_check.compiled import Work
from diffenc_jax.studies.costs.measure import WARM_UP_STEPS
from diffenc_jax.train.flops import count
from diffenc_jax.train.step import Program

EXAMPLE = "python benchmarks/train_step.py --config=configs/cifar10.py:vdm --config.train.batch_size=8 --baseline=FILE"
SIDE, REPEATS = 4096, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=positive, default=20, help="number of timed steps")
    records.add_record_arguments(parser)
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    before, config = records.earlier(arguments), load_arguments_config(arguments)
    spec = spec_of(config)
    program = Program(build(config, spec), config, make_mesh(1, jax.devices()[:1]))
    start = time.perf_counter()
    lowered = program.step.lower(program.state, program.batch)
    traced = time.perf_counter()
    step = lowered.compile()
    compiled = time.perf_counter()
    process.give_back()
    seconds = records.spread("step_seconds", step_seconds(program, step, spec.pixel_levels, arguments.steps))
    peak, memory = peak_bytes(), Memory.of(step)
    counts = count(config, spec)
    rate = matmul_flops_per_second(config.model.dtype)
    record = {
        "benchmark": "train_step",
        "config": config.name,
        "arm": config.arm,
        "batch_size": config.train.batch_size,
        "dtype": config.model.dtype,
        "params": counts.total_params,
        "trace_seconds": traced - start,
        "compile_seconds": compiled - traced,
        "trace_and_compile_seconds": compiled - start,
        **seconds,
        "timed_steps": arguments.steps,
        "peak_bytes": peak,
        "state_bytes": memory.state,
        "temporary_bytes": memory.temporaries,
        "moved_bytes": Work.of(step).bytes,
        "flops_per_step": counts.flops_per_step,
        "matmul_flops_per_second": rate,
        "matmul_share": counts.flops_per_step / seconds["step_seconds"] / rate,
        **records.machine(),
    }
    records.finish(record, before, arguments)


def step_seconds(program: Program, step: jax.stages.Compiled, pixel_levels: int, steps: int) -> list[float]:
    """Seconds of each of `steps` steps."""
    state, seconds = program.init(), []
    rng, labels = np.random.default_rng(0), program.batch.labels
    images = Batch(
        rng.integers(pixel_levels, size=program.batch.pixels.shape, dtype=np.uint8),
        None if labels is None else np.zeros(labels.shape, labels.dtype),
    )
    batch = jax.device_put(images, program.batch.pixels.sharding)
    for _ in range(WARM_UP_STEPS + steps):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP_STEPS:]


def peak_bytes() -> int:
    statistics = jax.devices()[0].memory_stats()
    if statistics:
        return statistics["peak_bytes_in_use"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def matmul_flops_per_second(dtype: str) -> float:
    """Best rate of a few products of two large square matrices of `dtype`."""
    x = jax.random.normal(jax.random.key(0), (SIDE, SIDE), DTYPES[dtype])
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(x, x))
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(product(x, x))
        seconds.append(time.perf_counter() - start)
    return 2 * SIDE**3 / min(seconds)


if __name__ == "__main__":
    records.run_script(computes=True)  # as in training
