"""Requirements of a training step on TPU slices as text."""

from typing import Any

from diffenc_jax.core.numbers import format_bytes


def step_lines(found: dict[str, Any]) -> list[str]:
    """Lines that describe the result of `measure_step`."""
    hosts = f" on {found['hosts']} hosts" if found["hosts"] > 1 else ""
    slices = f"{found['slices']} slices " if found["slices"] > 1 else ""
    title = (
        f"{found['config']}, {found['arm']}: batch {found['batch_size']}, {found['dtype']}, "
        f"{slices}{found['topology']} ({found['chips']} chips{hosts})"
    )
    device = "chip" if found["devices_per_chip"] == 1 else "half chip"
    memory = format_bytes(found["memory_of_device"])
    if not found["fits"]:
        needed = "" if found["memory"] is None else f", {format_bytes(found['memory'])} are needed"
        return [title, f"memory: does not fit the {memory} of a {device}{needed}; {_remedy(found)}"]
    state, temporaries = found["memory_of_state"], found["memory_of_temporaries"]
    flops, moved = found["seconds_by_flops"], found["seconds_by_bytes"]
    bound = "FLOPs" if flops > moved else "memory"
    return [
        title,
        f"memory: {format_bytes(found['memory'])} per {device} (state and batch {format_bytes(state)}, temporaries "
        f"{format_bytes(temporaries)}); fits the {memory} of a {device}",
        f"work per {device} and step: {found['flops'] / 1e12:.4g} TFLOP, {found['bytes'] / 1e9:.4g} GB of its memory "
        f"({found['bytes_accessed'] / 1e9:.4g} GB of any memory by XLA's count), {found['cycles'] / 1e6:.3g} million "
        "cycles by the compiler's estimate",
        f"time: {1e3 * flops:.3g} ms by FLOPs, {1e3 * moved:.3g} ms by bytes at the {device}'s peak; bound by {bound}",
        f"compiled in {found['compile_seconds']:.0f} s, for the counts {found['compile_seconds_of_counts']:.0f} s",
    ]


def _remedy(found: dict[str, Any]) -> str:
    if "remedy" not in found:
        return "take more chips, a smaller batch, or --config.mesh.fsdp"
    flags = " ".join(f"--config.{key}={value}" for key, value in found["remedy"].items())
    return f"{format_bytes(found['memory_with_remedy'])} with {flags}"
