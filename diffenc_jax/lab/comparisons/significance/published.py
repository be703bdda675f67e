"""The seeded comparisons of arXiv 2310.19789, and measured values beside the published figures.

The arms have the suffix `-published`, which undoes the differences from the published training that keys can undo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from diffenc_jax.core.document import Section, Table, Text
from diffenc_jax.core.numbers import UNKNOWN, Figure, format_interval, format_number, with_error
from diffenc_jax.lab.comparisons.significance.analysis import Analysis
from diffenc_jax.lab.comparisons.significance.grid import Grid
from diffenc_jax.lab.stats.means import Mean, interval_of_sum

PAPER = "arXiv 2310.19789"


class Published(NamedTuple):
    """Published test bits/dim of an arm: mean over seeds and its standard error, each None if unknown."""

    mean: float | None = None
    standard_error: float | None = None


@dataclass(frozen=True)
class Reproduction:
    """Arms of one configuration that the paper compares over seeds.

    Attributes:
      config: name of the installed configuration.
      num_seeds, steps: number of seeds, and steps of each run.
      arms: the first arm is the reference for the others.
    """

    config: str
    num_seeds: int
    steps: int
    arms: Mapping[str, Published]

    @property
    def reference(self) -> str:
        return next(iter(self.arms))

    @property
    def overrides(self) -> tuple[str, ...]:
        """Changes of the configuration for the runs."""
        return (f"train.steps={self.steps}",)

    def grid(self, overrides: Sequence[str]) -> Grid:
        """The grid of the runs. An override replaces the comparison's override of the same key."""
        keys = {override.partition("=")[0] for override in overrides}
        changes = [override for override in self.overrides if override.partition("=")[0] not in keys] + [*overrides]
        return Grid(self.config, tuple(self.arms), tuple(range(self.num_seeds)), tuple(changes), None, self.reference)


VDM, DIFFENC, LARGE_VDM, LARGE_DIFFENC, NONTRAINABLE = (
    f"{arm}-published" for arm in ("vdm-8", "diffenc-8-2", "vdm", "diffenc", "nontrainable-8")
)
COMPARISONS = {
    "cifar10-large": Reproduction(
        "cifar10", 3, 8_000_000, {LARGE_VDM: Published(2.641, 0.003), LARGE_DIFFENC: Published(2.620, 0.006)}
    ),
    "cifar10-small": Reproduction("cifar10", 5, 2_000_000, {VDM: Published(2.783), DIFFENC: Published(2.783)}),
    "cifar10-nontrainable": Reproduction("cifar10", 5, 2_000_000, {VDM: Published(2.783), NONTRAINABLE: Published()}),
    "mnist": Reproduction("mnist", 5, 2_000_000, dict.fromkeys((VDM, DIFFENC, NONTRAINABLE), Published())),
    # The new version of the data; the number of steps is that of a review of the paper.
    "imagenet32": Reproduction("imagenet32", 3, 1_500_000, dict.fromkeys((LARGE_VDM, LARGE_DIFFENC), Published(3.46))),
}


def beside_published(grid: Grid, analysis: Analysis) -> list[Section]:
    """A section, with arms and differences, per published comparison whose configuration and arms `grid` has.

    Args:
      analysis: the analysis of the runs of `grid`.
    """
    return [
        _section(name, one, analysis, grid.overrides)
        for name, one in COMPARISONS.items()
        if one.config == grid.config and one.arms.keys() <= set(grid.arms)
    ]


def _section(name: str, comparison: Reproduction, analysis: Analysis, overrides: Sequence[str]) -> Section:
    arms, reference, seeds = comparison.arms, comparison.reference, comparison.num_seeds
    rows = [_row(arm, analysis.arms[arm], [arms[arm]], seeds) for arm in arms if arm in analysis.arms]
    others = [c for c in analysis.comparisons if c.reference == reference and c.arm in arms]
    rows += [_row(f"{c.arm} - reference", c, [arms[c.arm], arms[reference]], seeds) for c in others]
    changes = ", ".join(override for override in overrides if override not in comparison.overrides)
    text = (
        f"{PAPER}: {seeds} seeds, {comparison.steps:,} steps."
        f"{f' These runs differ from that in {changes}.' if changes else ''} Differences are measured minus "
        "published; intervals are 95 % t intervals (Welch-Satterthwaite) over the seeds of both or, where the "
        "published standard error is not known (*), over ours only."
    )
    table = Table(["", "measured", "published", "difference", "interval"], rows, unit="bits/dim")
    return Section(f"Beside the published figures of {name}", [Text(text), table])


def _row(name: str, ours: Mean, sources: Sequence[Published], seeds: int) -> list[str]:
    """Cells about a measured and a published value: the mean of the first source, minus that of the second, if any.

    The standard errors of the sources are independent.
    """
    measured = with_error(ours.mean, ours.standard_error)
    means, errors = zip(*sources, strict=True)
    if None in means:
        return [name, measured, UNKNOWN, UNKNOWN, UNKNOWN]
    published, interval = means[0] - sum(means[1:]), None
    difference = None if ours.mean is None else ours.mean - published
    if difference is not None and ours.standard_error:
        parts = [(ours.standard_error, ours.n - 1), *((error, seeds - 1) for error in errors if error is not None)]
        interval = interval_of_sum(difference, parts)
    shown = Figure("{:.4g}" + "*" * (None in errors), published)
    return [name, measured, shown, format_number(difference), format_interval(interval)]


def _published(figures: Published) -> Figure:
    known = [number for number in figures if number is not None]
    return Figure(" ± ".join(["{:g}"] * len(known)) or UNKNOWN, *known)


def listing() -> Section:
    """Arms, seeds, steps and published figures of each comparison."""
    rows = [
        [name, arm, one.num_seeds, Figure("{:,}", one.steps), _published(figures)]
        for name, one in COMPARISONS.items()
        for arm, figures in one.arms.items()
    ]
    table = Table(["name", "arm", "seeds", "steps", "published bits/dim"], rows)
    return Section(f"Comparisons of {PAPER}", [table])
