"""Memory and work of the published DiffEnc code's training step on a TPU chip, by its compiler, as one line of JSON.

Compiles the step for a chip of --topology, such as v5e:1x1, without a TPU, with --batch images on it. The quantities
are those of `diffenc compile-check`, with whose step of an equal model on the same chip they can be compared. How the
published code is run is in `published.py`. Needs pip install '.[tpu]'.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import published
import records
import timing

from diffenc_jax.commands.arguments import positive
from diffenc_jax.core.errors import require
from diffenc_jax.lab.costs.compiled import QUICK, Work
from diffenc_jax.lab.costs.tpu import describe_slices
from diffenc_jax.parallel.memory import Memory

EXAMPLE = "python benchmarks/published_tpu.py --diffenc=DIR --model=config_model_NAME.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    published.add_checkout(parser)
    parser.add_argument("--model", required=True, metavar="FILE", help="model configuration in DIR/config")
    parser.add_argument("--batch", type=positive, default=32, help="images of the chip per step")
    parser.add_argument("--topology", default="v5e:1x1", metavar="NAME", help="slice of one chip")
    parser.add_argument(
        "--quick", action="store_true", help="compile without the search for the fastest kernels, which is much faster"
    )
    parser.set_defaults(width=None, layers=None)
    records.add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    jax.config.update("jax_platforms", "cpu")  # nothing is run; a TPU of this machine is left to others
    jax.config.update("jax_enable_compilation_cache", False)  # JAX cannot load programs for absent devices
    before = records.earlier(arguments)
    devices = describe_slices(arguments.topology).devices
    require(len(devices) == 1, f"--topology={arguments.topology} has {len(devices)} devices; give one of a single chip")
    pipeline = published.make_pipeline(arguments)
    sharding = jax.sharding.SingleDeviceSharding(devices[0])
    options = QUICK if arguments.quick else None
    compiled, times = timing.compile_timed(lambda: lower(pipeline, arguments.batch, sharding), options)
    work = Work.of(compiled)
    record = {
        "benchmark": "published_tpu",
        "model": arguments.model,
        "batch_size": arguments.batch,
        "topology": arguments.topology,
        "quick": arguments.quick,
        "flops": work.flops,
        "bytes_accessed": work.accessed,
        "cycles": work.cycles,
        "memory_of_temporaries": Memory.of(compiled).temporaries,
        **times,
        **records.machine(),
    }
    records.finish(record, before, arguments)


def lower(pipeline: Any, batch: int, sharding: jax.sharding.Sharding) -> jax.stages.Lowered:
    """The step of a pipeline for one device, over which the published code maps by `jax.pmap`."""

    def on_device(shape, dtype):
        return jax.ShapeDtypeStruct((1, *shape), dtype, sharding=sharding)

    state = jax.tree.map(lambda leaf: on_device(jnp.shape(leaf), jnp.asarray(leaf).dtype), pipeline.train_state)
    images, classes = on_device((batch, *published.SHAPE), jnp.uint8), on_device((batch,), jnp.float32)
    step = jax.vmap(pipeline.train_step_multi_gpu, axis_name="devices")
    return jax.jit(step, donate_argnums=0).lower(state, images, classes)


if __name__ == "__main__":
    records.run_script()
