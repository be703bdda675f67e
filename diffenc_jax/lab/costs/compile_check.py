"""Memory and work of a training step on a TPU slice."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from diffenc_jax.config import Config
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.numbers import format_bytes
from diffenc_jax.core.versions import software
from diffenc_jax.lab.costs.compiled import Compiler, DoesNotFit
from diffenc_jax.lab.costs.tpu import describe_slices
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
    described = describe_slices(topology, slices)
    available = described.target.memory or 0

    def compiler_of(config):
        return Compiler(config, spec_of(config), make_mesh(config.mesh.fsdp, described.devices), "tpu", quick)

    compiler = compiler_of(config)
    about = {
        "config": config.name,
        "arm": config.arm,
        "config_hash": config.hash,
        "dtype": config.model.dtype,
        "topology": topology,
        "slices": slices,
        "chips": described.chips,
        "devices_per_chip": described.target.devices,
        "hosts": described.hosts,
        "mesh": dict(make_mesh(config.mesh.fsdp, described.devices).shape),
        "batch_size": config.train.batch_size,
        "quick": quick,
        "memory_of_device": available,
        "software": software() | {"libtpu": version("libtpu")},
    }
    try:
        memory, seconds = compiler.memory()
        if memory.total > available:  # by less than the compiler itself refuses
            raise DoesNotFit(memory.total)
        work, seconds_of_counts = compiler.work()
    except DoesNotFit as error:
        return about | {"fits": False, "memory": error.needed} | find_remedy(config, compiler_of, error, available)
    return about | {
        "fits": True,
        "memory": memory.total,
        "memory_of_state": memory.state,
        "memory_of_temporaries": memory.temporaries,
        "flops": work.flops,
        "bytes_accessed": work.accessed,
        "cycles": work.cycles,
        "seconds_by_flops": work.flops / described.target.flops,
        "compile_seconds": seconds,
        "compile_seconds_of_counts": seconds_of_counts,
    }


def find_remedy(
    config: Config, compiler_of: Callable[[Config], Compiler], without: DoesNotFit, available: int
) -> dict[str, Any]:
    """The first of `REMEDIES` with which a step fits, 'remedy' by key, and its bytes, 'memory_with_remedy'.

    Empty if there is none. Each of them is compiled.

    Args:
      without: what the step of `config` needs.
      available: bytes of a device.
    """
    if without.needed is not None and without.needed > MOST * available:
        return {}
    for changes in REMEDIES:
        try:
            memory, _ = compiler_of(config.replace(changes)).memory()
        except (DoesNotFit, InputError):  # the batch may not divide into so many parts
            continue
        if memory.total <= available:
            return {"remedy": changes, "memory_with_remedy": memory.total}
    return {}


def step_lines(needs: dict[str, Any]) -> list[str]:
    """Lines that describe the result of `measure_step`."""
    slices = f"{needs['slices']} x {needs['topology']}, chips: {needs['chips']}, hosts: {needs['hosts']}"
    title = f"{needs['config']}, {needs['arm']}: batch {needs['batch_size']}, {needs['dtype']}, {slices}"
    device = "chip" if needs["devices_per_chip"] == 1 else "half chip"
    memory = f"the {format_bytes(needs['memory_of_device'])} of a {device}"
    if not needs["fits"]:
        flags = " ".join(f"--config.{key}={value}" for key, value in needs.get("remedy", {}).items())
        remedy = flags and f"{format_bytes(needs['memory_with_remedy'])} with {flags}"
        needed = "" if needs["memory"] is None else f", {format_bytes(needs['memory'])} are needed"
        advice = remedy or "take more chips, a smaller batch, or --config.mesh.fsdp"
        return [title, f"memory: does not fit {memory}{needed}; {advice}"]
    state, temporaries = needs["memory_of_state"], needs["memory_of_temporaries"]
    return [
        title,
        f"memory: {format_bytes(needs['memory'])} per {device} (state and batch {format_bytes(state)}, temporaries "
        f"{format_bytes(temporaries)}); fits {memory}",
        f"work per {device} and step: {needs['flops'] / 1e12:.4g} TFLOP, {needs['bytes_accessed'] / 1e9:.4g} GB "
        f"accessed in any memory, {needs['cycles'] / 1e6:.3g} million cycles by the compiler's estimate",
        f"time: {1e3 * needs['seconds_by_flops']:.3g} ms by FLOPs at the {device}'s peak",
        f"compiled in {needs['compile_seconds']:.0f} s, for the counts {needs['compile_seconds_of_counts']:.0f} s",
    ]
