"""Requirements of a training step on TPU slices as text."""

from typing import Any

from diffenc_jax.core.numbers import format_bytes


def step_lines(needs: dict[str, Any]) -> list[str]:
    """Lines that describe the result of `measure_step`."""
    hosts = f" on {needs['hosts']} hosts" if needs["hosts"] > 1 else ""
    slices = f"{needs['slices']} slices " if needs["slices"] > 1 else ""
    title = (
        f"{needs['config']}, {needs['arm']}: batch {needs['batch_size']}, {needs['dtype']}, "
        f"{slices}{needs['topology']} ({needs['chips']} chips{hosts})"
    )
    device = "chip" if needs["devices_per_chip"] == 1 else "half chip"
    memory = format_bytes(needs["memory_of_device"])
    if not needs["fits"]:
        needed = "" if needs["memory"] is None else f", {format_bytes(needs['memory'])} are needed"
        return [title, f"memory: does not fit the {memory} of a {device}{needed}; {_remedy(needs)}"]
    state, temporaries = needs["memory_of_state"], needs["memory_of_temporaries"]
    flops, moved = needs["seconds_by_flops"], needs["seconds_by_bytes"]
    bound = "FLOPs" if flops > moved else "memory"
    return [
        title,
        f"memory: {format_bytes(needs['memory'])} per {device} (state and batch {format_bytes(state)}, temporaries "
        f"{format_bytes(temporaries)}); fits the {memory} of a {device}",
        f"work per {device} and step: {needs['flops'] / 1e12:.4g} TFLOP, {needs['bytes'] / 1e9:.4g} GB of its memory "
        f"({needs['bytes_accessed'] / 1e9:.4g} GB of any memory by XLA's count), {needs['cycles'] / 1e6:.3g} million "
        "cycles by the compiler's estimate",
        f"time: {1e3 * flops:.3g} ms by FLOPs, {1e3 * moved:.3g} ms by bytes at the {device}'s peak; bound by {bound}",
        f"compiled in {needs['compile_seconds']:.0f} s, for the counts {needs['compile_seconds_of_counts']:.0f} s",
    ]


def _remedy(needs: dict[str, Any]) -> str:
    if "remedy" not in needs:
        return "take more chips, a smaller batch, or --config.mesh.fsdp"
    flags = " ".join(f"--config.{key}={value}" for key, value in needs["remedy"].items())
    return f"{format_bytes(needs['memory_with_remedy'])} with {flags}"
