"""What a training step needs of a TPU slice, by the real TPU compiler on a machine without a TPU.

python -m diffenc_jax.compile_check --config=configs/cifar10.py[:arm] --topology=v5e:2x2 [--batch=128] [--quick]
    [--json=FILE] [--config.key=value ...]

Compiles the step of `--config` for a slice, several hosts included, and prints the memory of a chip and whether it is
enough, FLOPs and bytes a chip and step, the time that each takes at the chip's published best, and the time to compile.
Needs pip install '.[tpu]'; no images are needed. --quick leaves out the compiler's search for the fastest kernels.
Exits with 1 where a chip's memory is not enough.
"""

import json
import os
import sys
from importlib.metadata import version
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict

from diffenc_jax import cli
from diffenc_jax.config import config_hash, require
from diffenc_jax.errors import InputError
from diffenc_jax.workdir import replace

TOPOLOGY = flags.DEFINE_string("topology", None, "Slice to compile for, such as v5e:2x2, v5p:2x2x1 or v6e:4x4.")
BATCH = flags.DEFINE_integer("batch", None, "Short for --config.train.batch_size.", lower_bound=1)
QUICK = flags.DEFINE_bool("quick", False, "Leave out the search for the fastest kernels: much faster.")
JSON = flags.DEFINE_string("json", None, "File for what is found.")
flags.declare_key_flag("config")  # --help shows it


def check(config: ConfigDict, topology: str, quick: bool) -> dict[str, Any]:
    """What a step of `config` needs of the slice `topology`; JSON's values, bytes and FLOPs a chip.

    Raises:
      InputError: there is no such slice, or `config` cannot be trained on it.
    """
    from diffenc_jax import tpu
    from diffenc_jax.data.dataset import image_shape
    from diffenc_jax.environment import software
    from diffenc_jax.train import sharding
    from diffenc_jax.train.compiled import Compiler, DoesNotFit

    target = tpu.describe(topology)
    mesh = sharding.make_mesh(config.mesh.fsdp, target.devices)
    compiler = Compiler(config, image_shape(config), mesh, "tpu", quick)
    found = {
        "config": config.name,
        "arm": config.arm,
        "config_hash": config_hash(config),
        "dtype": config.model.dtype,
        "topology": target.name,
        "chips": len(target.devices),
        "hosts": target.hosts,
        "mesh": dict(mesh.shape),
        "batch_size": config.train.batch_size,
        "quick": quick,
        "memory_of_chip": target.chip.memory,
        "software": software() | {"libtpu": version("libtpu")},
    }
    try:
        memory, seconds = compiler.memory()
        work, more_seconds = compiler.work()
    except DoesNotFit as error:
        return found | {"fits": False, "memory": error.needed}
    return found | {
        "fits": memory.total <= target.chip.memory,
        "memory": memory.total,
        "memory_of_state": memory.state,
        "memory_of_temporaries": memory.temporaries,
        "flops": work.flops,
        "bytes": work.bytes,
        "seconds_by_flops": work.flops / target.chip.flops,
        "seconds_by_bytes": work.bytes / target.chip.bandwidth,
        "compile_seconds": seconds,
        "compile_seconds_of_counts": more_seconds,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """What `check` found, to be read."""
    hosts = f" on {found['hosts']} hosts" if found["hosts"] > 1 else ""
    title = (
        f"{found['config']}, {found['arm']}: batch {found['batch_size']}, {found['dtype']}, {found['topology']} "
        f"({found['chips']} chips{hosts})"
    )
    chip = _gigabytes(found["memory_of_chip"])
    if not found["fits"]:
        needed = "" if found["memory"] is None else f", {_gigabytes(found['memory'])} are needed"
        return [
            title,
            f"memory: does not fit the {chip} of a chip{needed}; take more chips, a smaller batch, "
            "--config.train.accumulate=2, --config.model.remat=block or --config.mesh.fsdp",
        ]
    state, temporaries = found["memory_of_state"], found["memory_of_temporaries"]
    flops, moved = found["seconds_by_flops"], found["seconds_by_bytes"]
    bound = "FLOPs" if flops > moved else "memory"
    return [
        title,
        f"memory: {_gigabytes(found['memory'])} a chip (state and batch {_gigabytes(state)}, temporaries "
        f"{_gigabytes(temporaries)}); fits the {chip} of a chip",
        f"work: {found['flops'] / 1e12:.4g} TFLOP and {found['bytes'] / 1e9:.4g} GB a chip and step",
        f"time: {1e3 * flops:.3g} ms by FLOPs, {1e3 * moved:.3g} ms by bytes at the chip's best; bound by {bound}",
        f"compiled in {found['compile_seconds']:.0f} s, for the counts {found['compile_seconds_of_counts']:.0f} s",
    ]


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def main(_: list[str]) -> None:
    """Compiles, writes and prints."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # nothing is run; a TPU that is here is left to others
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # JAX cannot read back what it compiled for devices elsewhere
    logging.set_verbosity(logging.ERROR)  # what matters we say ourselves
    config = cli.CONFIG.value
    try:
        require(cli.WORKDIR.value is None, "--workdir is not read: nothing is kept but --json=FILE")
        require(TOPOLOGY.value is not None, "--topology is missing; give one such as --topology=v5e:2x2")
        path = cli.writable_file("json", JSON.value)
        if BATCH.value:
            config.train.batch_size = BATCH.value
        found = check(config, TOPOLOGY.value, QUICK.value)
    except InputError as error:
        cli.fail(str(error))
    if path:
        replace(path, json.dumps(found, indent=1) + "\n")
    print(*lines(found), sep="\n")
    sys.exit(not found["fits"])


if __name__ == "__main__":
    app.run(main, flags_parser=cli.parse)
