"""Memory and work of a training step on a TPU slice."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from diffenc_jax.config import Config
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.versions import software
from diffenc_jax.lab.studies.compile_check.compiled import Compiler, DoesNotFit
from diffenc_jax.lab.studies.compile_check.tpu import describe_slices
from diffenc_jax.model import spec_of
from diffenc_jax.parallel.sharding import make_mesh

# Changes that lower the memory of a step, from the one that costs least time.
REMEDIES: tuple[dict[str, Any], ...] = (
    {"train.accumulate": 2},
    {"model.remat": "block"},
    {"model.remat": "block", "train.accumulate": 2},
    {"model.remat": "block", "train.accumulate": 4},
    {"model.remat": "block", "train.accumulate": 4, "mesh.fsdp": 4},
)
# None of them suffices for a program of more than this multiple of a device's memory.
MOST = 4


def measure_step(config: Config, topology: str, slices: int, quick: bool) -> dict[str, Any]:
    """Requirements of a step of `config` on `slices` slices `topology`: JSON values, bytes and FLOPs per device.

    Raises InputError if there is no such slice, or `config` cannot be trained on it.
    """
    target = describe_slices(topology, slices)
    mesh = make_mesh(config.mesh.fsdp, target.devices)

    def compiler_of(config):
        return Compiler(config, spec_of(config), make_mesh(config.mesh.fsdp, target.devices), "tpu", quick)

    compiler = compiler_of(config)
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
        if memory.total > target.chip.memory:  # by less than the compiler itself refuses
            raise DoesNotFit(memory.total)
        work, seconds_of_counts = compiler.work()
    except DoesNotFit as error:
        remedy = find_remedy(config, compiler_of, error.needed, target.chip.memory)
        return about | {"fits": False, "memory": error.needed} | remedy
    return about | {
        "fits": True,
        "memory": memory.total,
        "memory_of_state": memory.state,
        "memory_of_temporaries": memory.temporaries,
        "flops": work.flops,
        "bytes": work.bytes,
        "bytes_accessed": work.accessed,
        "cycles": work.cycles,
        "seconds_by_flops": work.flops / target.chip.flops,
        "seconds_by_bytes": work.bytes / target.chip.bandwidth,
        "compile_seconds": seconds,
        "compile_seconds_of_counts": seconds_of_counts,
    }


def find_remedy(
    config: Config, compiler_of: Callable[[Config], Compiler], needed: int | None, available: int
) -> dict[str, Any]:
    """The first of `REMEDIES` with which a step fits, 'remedy' by key, and its bytes, 'memory_with_remedy'.

    Empty if there is none. Each of them is compiled.

    Args:
      needed: bytes per device that the step of `config` needs; None if that is unknown.
      available: bytes of a device.
    """
    if needed is not None and needed > MOST * available:
        return {}
    for changes in REMEDIES:
        changed = config.replace(changes)
        if changed == config:
            continue
        try:
            memory, _ = compiler_of(changed).memory()
        except (DoesNotFit, InputError):  # the batch may not divide into so many parts
            continue
        if memory.total <= available:
            return {"remedy": changes, "memory_with_remedy": memory.total}
    return {}
