"""Time and memory of a configuration's training step on one device of this machine, as one line of JSON.

Traces, compiles and runs the step on random images that lie on the device; no data set is needed. In the record,
step_seconds is the median over --steps steps, each waited for, after a few others;
step_cpu_seconds is the CPU time per step of all threads, which depends less on other programs of the machine;
peak_bytes is the largest memory so far, of the process on a CPU, otherwise of the device;
accessed_bytes is the compiler's count, which counts the body of a loop once;
flops_per_step is what the networks need (see `train.flops.count`), not what the program computes;
matmul_share is the rate of these FLOPs, divided by the machine's rate in matrix products (`matmul_flops_per_second`).
"""

import argparse

import jax
import jax.numpy as jnp
import records
import timing

from diffenc_jax.commands.options import add_config, load_arguments_config, positive
from diffenc_jax.core import versions
from diffenc_jax.parallel.memory import Memory
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.flops import count

EXAMPLE = "python benchmarks/train_step.py --config=configs/cifar10.py:vdm --config.train.batch_size=8 --baseline=FILE"
SIDE, REPEATS = 4096, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=positive, default=20, help="number of timed steps")
    records.add_record_arguments(parser)
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    before, config = records.earlier(arguments), load_arguments_config(arguments)
    compiled = timing.compile_step(config, make_mesh(1, jax.devices()[:1]))
    steps = timing.step_record(timing.Training(compiled), arguments.steps)
    peak, memory = timing.peak_bytes(), Memory.of(compiled.step)
    counts = count(config)
    rate = matmul_flops_per_second(config.model.dtype)
    record = {
        "benchmark": "train_step",
        "config": config.name,
        "arm": config.arm,
        "batch_size": config.train.batch_size,
        "dtype": config.model.dtype,
        "params": counts.total_params,
        **compiled.times,
        **steps,
        "peak_bytes": peak,
        "state_bytes": memory.state,
        "temporary_bytes": memory.temporaries,
        "accessed_bytes": compiled.step.cost_analysis()["bytes accessed"],
        "flops_per_step": counts.flops_per_step,
        "matmul_flops_per_second": rate,
        "matmul_share": counts.flops_per_step / steps["step_seconds"] / rate,
        **versions.machine(),
    }
    records.finish(record, before, arguments)


def matmul_flops_per_second(dtype: str) -> float:
    """Best rate of a few products of two large square matrices of `dtype`."""
    x = jax.random.normal(jax.random.key(0), (SIDE, SIDE), getattr(jnp, dtype))
    product = jax.jit(jnp.matmul)
    return 2 * SIDE**3 / min(timing.call_seconds(lambda: product(x, x), REPEATS, warm_up=1))


if __name__ == "__main__":
    records.run_script(computes=True)  # as in training
