"""Measured values beside the published ones."""

from collections.abc import Sequence

from diffenc_jax.core.document import Section, Table, Text
from diffenc_jax.core.numbers import UNKNOWN, format_interval, format_number, with_error
from diffenc_jax.evaluation.means import interval_of_sum
from diffenc_jax.lab.comparisons.reproduction.comparisons import PAPER, Published, Reproduction
from diffenc_jax.lab.comparisons.significance.analysis import Analysis, OverSeeds


def section(name: str, comparison: Reproduction, analysis: Analysis, overrides: Sequence[str]) -> Section:
    """The section of a report on the comparison `name`: its arms, and their differences to the reference.

    Args:
      analysis: that of runs that include those of the comparison.
      overrides: changes of the configuration that the runs have.
    """
    arms, reference, rows = comparison.arms, comparison.arms[comparison.reference], []
    for arm, figures in arms.items():
        if arm in analysis.arms:
            rows.append(_row(arm, analysis.arms[arm], figures.mean, [figures], comparison.num_seeds))
    for c in analysis.comparisons:
        if c.reference == comparison.reference and c.arm in arms:
            both = [arms[c.arm], reference]
            difference = None if both[0].mean is None or both[1].mean is None else both[0].mean - both[1].mean
            rows.append(_row(f"{c.arm} - reference", c, difference, both, comparison.num_seeds))
    changes = ", ".join(override for override in overrides if override not in comparison.overrides)
    text = (
        f"{PAPER}: {comparison.num_seeds} seeds, {comparison.steps:,} steps."
        f"{f' These runs differ from that in {changes}.' if changes else ''} Differences are measured minus "
        "published; intervals are 95 % t intervals (Welch-Satterthwaite) over the seeds of both or, where the "
        "published standard error is not known (*), over ours only."
    )
    table = Table(["", "measured", "published", "difference", "interval"], rows)
    return Section(f"Beside the published figures of {name}", [Text(text), table])


def _row(name: str, ours: OverSeeds, published: float | None, sources: Sequence[Published], seeds: int) -> list[str]:
    """Cells about a value and a published one, which has the independent standard errors of its `sources`."""
    measured = with_error(ours.mean, ours.standard_error)
    if published is None or ours.mean is None:
        return [name, measured, UNKNOWN if published is None else f"{published:.4g}", UNKNOWN, UNKNOWN]
    errors, interval = [source.standard_error for source in sources], None
    if ours.standard_error:
        parts = [(ours.standard_error, ours.n - 1), *((error, seeds - 1) for error in errors if error is not None)]
        interval = interval_of_sum(ours.mean - published, parts)
    shown = f"{published:.4g}" + "*" * (None in errors)
    return [name, measured, shown, format_number(ours.mean - published), format_interval(interval)]
