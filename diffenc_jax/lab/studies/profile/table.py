"""A profile as tables."""

from diffenc_jax.core.document import Table
from diffenc_jax.lab.studies.profile.measure import Profile


def parts_table(profile: Profile) -> Table:
    """Time by part of the training step and by pass."""
    rows = [[_name(*part), *_time(profile, seconds)] for part, seconds in profile.by_part().items()]
    return Table(["part", "share", "ms per step"], rows, "By part")


def operations_table(profile: Profile, top: int) -> Table:
    """The `top` operations that take longest."""
    rows = [
        [
            operation.name,
            *_time(profile, operation.seconds),
            f"{operation.calls / profile.num_steps:g}",
            ": ".join(filter(None, [_name(operation.part, operation.backward), operation.scope])),
        ]
        for operation in profile.operations[:top]
    ]
    heads = ["operation", "share", "ms per step", "calls per step", "scope"]
    return Table(heads, rows, f"The {len(rows)} operations that take longest")


def about(profile: Profile) -> str:
    """One line on what was measured."""
    first, last = profile.steps
    milliseconds = 1e3 * profile.seconds / profile.num_steps
    return (
        f"steps {first} to {last}: {milliseconds:.4g} ms of operations per step, summed over threads and devices, by "
        f"{len(profile.operations):,} operations"
    )


def _name(part: str, backward: bool) -> str:
    return f"{part} (backward)" if backward else part


def _time(profile: Profile, seconds: float) -> list[str]:
    return [f"{100 * seconds / profile.seconds:.1f} %", f"{1e3 * seconds / profile.num_steps:.3f}"]
