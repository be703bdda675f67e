"""The list of the published comparisons, with what they cost."""

from collections.abc import Mapping

from diffenc_jax.core.document import Items, Section, Table, Text
from diffenc_jax.lab.studies.compile_check.tpu import CHIPS
from diffenc_jax.lab.studies.reproduction.comparisons import PAPER, Comparison

CHIP, CHIP_COUNTS, SHARE_OF_PEAK = "v5e", (4, 16, 64), 0.4


def listing(comparisons: Mapping[str, Comparison]) -> Section:
    """Arms, seeds, steps, published figures and costs of each comparison."""
    figures = [
        [name, arm, comparison.num_seeds, f"{comparison.steps:,}", published]
        for name, comparison in comparisons.items()
        for arm, published in comparison.published.items()
    ]
    costs = [
        [name, f"{comparison.flops:.1e}", *(f"{hours:,.0f}" for hours in hours_by_chips(comparison))]
        for name, comparison in comparisons.items()
    ]
    notes = [
        f"{name}: {'; '.join(filter(None, [comparison.title, comparison.note]))}"
        for name, comparison in comparisons.items()
    ]
    text = (
        f"Costs are those of training all arms and seeds; hours are those on this many {CHIP} chips at "
        f"{100 * SHARE_OF_PEAK:.0f} % of their bfloat16 peak. Bits/dim are means over seeds ± standard errors."
    )
    return Section(
        f"Comparisons of {PAPER}",
        [
            Items(notes),
            Table(["name", "arm", "seeds", "steps", "published bits/dim"], figures),
            Table(["name", "FLOPs", *(f"hours on {chips} chips" for chips in CHIP_COUNTS)], costs),
            Text(text),
        ],
    )


def hours_by_chips(comparison: Comparison) -> list[float]:
    """Hours of training on each of `CHIP_COUNTS`."""
    rate = SHARE_OF_PEAK * CHIPS[CHIP].flops
    return [comparison.hours(chips, rate) for chips in CHIP_COUNTS]
