"""Costs of a training step as text."""

from typing import Any


def cost_lines(costs: dict[str, Any]) -> list[str]:
    """Lines that describe the result of `measure_costs`."""
    parts = ", ".join(f"{name} {number:,}" for name, number in costs["params_by_part"].items())
    lower, upper = costs["seconds_per_step_quartiles"]
    state, temporaries = costs["memory_of_state"], costs["memory_of_temporaries"]
    return [
        f"{costs['config']}, {costs['arm']}: batch {costs['batch_size']}, {costs['dtype']}, {costs['device']}",
        f"parameters: {costs['params']:,} ({parts})",
        f"FLOPs: {costs['flops_per_step']:.4g} per step, {costs['train_flops']:.4g} in {costs['steps']:,} steps",
        f"memory: {_megabytes(costs['memory_per_step'])} per device "
        f"(state and batch {_megabytes(state)}, temporaries {_megabytes(temporaries)})",
        f"time: {costs['seconds_per_step']:.4g} s per step (median of {costs['timed_steps']}, quartiles {lower:.4g} "
        f"and {upper:.4g}), {costs['compile_seconds']:.1f} s to compile",
    ]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
