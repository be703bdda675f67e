"""What a training step of a configuration takes on one device of this machine, as one line of JSON.

python benchmarks/train_step.py --config=configs/cifar10.py[:arm] [--steps=20] [--json=FILE] [--baseline=FILE]
    [--config.train.batch_size=8] [--config.key=value ...]

Traces, compiles and runs the step on random images that lie on the device; no data set is needed. --json appends the
line to FILE, --baseline prints the ratios to the last line of one. In a record,
step_seconds is the median of --steps steps, each waited for, after a few others;
peak_bytes is the most that the process held until then, on a CPU; elsewhere, that the device held;
moved_bytes is by the count of the compiler, which takes the body of a loop once;
flops_per_step is what the networks need, see `train.cost.count`, whatever is computed;
matmul_share is the share of the machine's rate of products, see `matmul_flops_per_second`, at which they are.
"""

import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import records
from absl import app, flags, logging

from diffenc_jax import cli, memory
from diffenc_jax.data.dataset import image_shape
from diffenc_jax.errors import InputError
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.networks import DTYPES
from diffenc_jax.train import sharding
from diffenc_jax.train.compiled import Memory, Work
from diffenc_jax.train.cost import WARM_UP_STEPS, count
from diffenc_jax.train.step import Program, make_program

STEPS = flags.DEFINE_integer("steps", 20, "How many steps are timed.", lower_bound=1)
SIDE, LOOKS = 4096, 5


def program(config) -> Program:
    """On one device; raises InputError where `config` cannot be trained."""
    spec = ImageSpec(image_shape(config), config.data.levels)
    return make_program(build(config, spec), config, sharding.make_mesh(1, jax.devices()[:1]))


def step_seconds(program: Program, step: jax.stages.Compiled, levels: int) -> list[float]:
    """Of each of --steps steps."""
    state, seconds = program.init(), []
    images = np.random.default_rng(0).integers(levels, size=program.pixels.shape, dtype=np.uint8)
    pixels = jax.device_put(images, program.pixels.sharding)
    for _ in range(WARM_UP_STEPS + STEPS.value):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, pixels))
        seconds.append(time.perf_counter() - start)
    return seconds[WARM_UP_STEPS:]


def peak_bytes() -> int:
    statistics = jax.devices()[0].memory_stats()
    if statistics:
        return statistics["peak_bytes_in_use"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def matmul_flops_per_second(dtype: str) -> float:
    """Best of a few products of two large square matrices of `dtype`."""
    x = jax.random.normal(jax.random.key(0), (SIDE, SIDE), DTYPES[dtype])
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(x, x))
    seconds = []
    for _ in range(LOOKS):
        start = time.perf_counter()
        jax.block_until_ready(product(x, x))
        seconds.append(time.perf_counter() - start)
    return 2 * SIDE**3 / min(seconds)


def main(_: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)
    before, config = records.earlier(), cli.CONFIG.value
    try:
        run = program(config)
    except InputError as error:
        cli.fail(str(error))
    start = time.perf_counter()
    lowered = run.step.lower(run.state, run.pixels)
    traced = time.perf_counter()
    step = lowered.compile()
    compiled = time.perf_counter()
    memory.give_back()
    seconds = records.spread("step_seconds", step_seconds(run, step, config.data.levels))
    peak, needed = peak_bytes(), Memory.of(step)
    flops = count(config, ImageSpec(run.pixels.shape[1:], config.data.levels)).flops_per_step
    rate = matmul_flops_per_second(config.model.dtype)
    record = {
        "benchmark": "train_step",
        "config": config.name,
        "arm": config.arm,
        "batch_size": config.train.batch_size,
        "dtype": config.model.dtype,
        "trace_seconds": traced - start,
        "compile_seconds": compiled - traced,
        "trace_and_compile_seconds": compiled - start,
        **seconds,
        "timed_steps": STEPS.value,
        "peak_bytes": peak,
        "state_bytes": needed.state,
        "temporary_bytes": needed.temporaries,
        "moved_bytes": Work.of(step).bytes,
        "flops_per_step": flops,
        "matmul_flops_per_second": rate,
        "matmul_share": flops / seconds["step_seconds"] / rate,
        **records.machine(),
    }
    records.finish(record, before)


if __name__ == "__main__":
    memory.prepare()  # as training does
    app.run(main, flags_parser=cli.parse)
