"""Memory and work of the published DiffEnc code's training step on a TPU chip or a GPU, compiled without one.

Compiles the step for a device of --topology, such as v5e:1x1 or h100:1, with --batch images on it, and writes one line
of JSON. The quantities are those of `diffenc compile-check`, with whose step of an equal model on the same device they
can be compared. How the published code is run is in `published.py`. Needs pip install '.[tpu]' or '.[cuda]'.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import published
import records
import timing

from diffenc_jax.commands.options import positive
from diffenc_jax.core import versions
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import require
from diffenc_jax.core.numbers import Figure
from diffenc_jax.core.terminal import print_document
from diffenc_jax.lab.costs import hlo
from diffenc_jax.lab.costs.compile_check import describe_work, work_table
from diffenc_jax.lab.costs.machines import describe
from diffenc_jax.parallel.memory import Memory
from diffenc_jax.runs.files import read_json

# Quantities that are compared: (key, unit); cycles are those of TPUs.
COMPARED = {
    "GB moved": ("bytes_moved", 1e9),
    "million cycles": ("cycles", 1e6),
    "kernels": ("kernels", 1),
    "temporaries, GiB": ("memory_of_temporaries", 2**30),
    "TFLOP": ("flops", 1e12),
}
EXAMPLE = "python benchmarks/published_compiled.py --diffenc=DIR --model=config_model_NAME.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    published.add_checkout(parser)
    parser.add_argument("--model", required=True, metavar="FILE", help="model configuration in DIR/config")
    parser.add_argument("--batch", type=positive, default=32, help="images of the device per step")
    parser.add_argument("--topology", default="v5e:1x1", metavar="NAME", help="slice of one chip, or one GPU")
    parser.add_argument("--tables", action="store_true", help="also print the work by part of the step")
    text = "records of `diffenc compile-check --json` to show beside it, of an equal model on the same device"
    parser.add_argument("--ours", metavar="FILE,...", type=lambda names: names.split(","), default=[], help=text)
    parser.set_defaults(width=None, layers=None)
    records.add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    jax.config.update("jax_platforms", "cpu")  # nothing is run; an accelerator of this machine is left to others
    jax.config.update("jax_enable_compilation_cache", False)  # JAX cannot load programs for absent devices
    before, ours = records.earlier(arguments), [read_json(Path(name)) for name in arguments.ours]
    target, devices = describe(arguments.topology)
    require(len(devices) == 1, f"--topology={arguments.topology} has {len(devices)} devices; give one device")
    pipeline = published.make_pipeline(arguments)
    sharding = jax.sharding.SingleDeviceSharding(devices[0])
    compiled, times = timing.compile_timed(lambda: trace(pipeline, arguments.batch, sharding).lower())
    as_written = trace(pipeline, arguments.batch, None).lower(lowering_platforms=("tpu",)).cost_analysis()
    work = describe_work(hlo.kernels(compiled.as_text()), as_written["flops"], target)
    record = {
        "benchmark": "published_compiled",
        "model": arguments.model,
        "batch_size": arguments.batch,
        "topology": arguments.topology,
        **work,
        "memory_of_temporaries": Memory.of(compiled).temporaries,
        **times,
        **versions.machine(),
    }
    if arguments.tables:
        print_document(work_table(work))
    records.finish(record, before, arguments)
    if ours:
        print_document(beside(record, ours))


def beside(theirs: dict[str, Any], ours: list[dict[str, Any]]) -> Table:
    """The published step beside ours, which `diffenc compile-check --json` has written."""
    rows = [
        [name, *(Figure("{:.4g}" if key == "kernels" else "{:.3g}", one[key] / unit) for one in (theirs, *ours))]
        for name, (key, unit) in COMPARED.items()
        if theirs[key]
    ]
    heads = ["published, float32", *(f"ours, {one['dtype']}" for one in ours)]
    return Table([f"`{ours[0]['arm']}`, {theirs['batch_size']} images", *heads], rows)


def trace(pipeline: Any, batch: int, sharding: jax.sharding.Sharding | None) -> jax.stages.Traced:
    """The step of a pipeline for one device, over which the published code maps by `jax.pmap`."""

    def on_device(shape, dtype):
        return jax.ShapeDtypeStruct((1, *shape), dtype, sharding=sharding)

    state = jax.tree.map(lambda leaf: on_device(jnp.shape(leaf), jnp.asarray(leaf).dtype), pipeline.train_state)
    images, classes = on_device((batch, *published.SHAPE), jnp.uint8), on_device((batch,), jnp.float32)
    step = jax.vmap(pipeline.train_step_multi_gpu, axis_name="devices")
    return jax.jit(step, donate_argnums=0).trace(state, images, classes)


if __name__ == "__main__":
    records.run_script()
