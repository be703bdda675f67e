"""Memory and work of a training step on a TPU slice."""

from importlib.metadata import version
from typing import Any

from diffenc_jax.config import Config
from diffenc_jax.core.versions import software
from diffenc_jax.model import spec_of
from diffenc_jax.parallel.mesh import make_mesh
from diffenc_jax.studies.compile_check.compiled import Compiler, DoesNotFit
from diffenc_jax.studies.compile_check.tpu import describe_slices


def measure_step(config: Config, topology: str, slices: int, quick: bool) -> dict[str, Any]:
    """Requirements of a step of `config` on `slices` slices `topology`: JSON values, bytes and FLOPs per device.

    Raises InputError if there is no such slice, or `config` cannot be trained on it.
    """
    target = describe_slices(topology, slices)
    mesh = make_mesh(config.mesh.fsdp, target.devices)
    compiler = Compiler(config, spec_of(config), mesh, "tpu", quick)
    about = {
        "config": config.name,
        "arm": config.arm,
        "config_hash": config.hash,
        "dtype": config.model.dtype,
        "topology": topology,
        "slices": slices,
        "chips": target.chips,
        "devices_per_chip": target.chip.devices,
        "hosts": target.hosts,
        "mesh": dict(mesh.shape),
        "batch_size": config.train.batch_size,
        "quick": quick,
        "memory_of_device": target.chip.memory,
        "software": software() | {"libtpu": version("libtpu")},
    }
    try:
        memory, seconds = compiler.memory()
        work, seconds_of_counts = compiler.work()
    except DoesNotFit as error:
        return about | {"fits": False, "memory": error.needed}
    return about | {
        "fits": memory.total <= target.chip.memory,
        "memory": memory.total,
        "memory_of_state": memory.state,
        "memory_of_temporaries": memory.temporaries,
        "flops": work.flops,
        "bytes": work.bytes,
        "seconds_by_flops": work.flops / target.chip.flops,
        "seconds_by_bytes": work.bytes / target.chip.bandwidth,
        "compile_seconds": seconds,
        "compile_seconds_of_counts": seconds_of_counts,
    }
