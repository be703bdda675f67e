"""The seeded comparisons of arXiv 2310.19789: configurations, seeds, steps and published figures.

The arms are those with `-published`, which undo the differences from the published training that keys can undo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from diffenc_jax.core.document import Section, Table
from diffenc_jax.core.numbers import UNKNOWN
from diffenc_jax.lab.comparisons.significance.grid import Grid

PAPER = "arXiv 2310.19789"


class Published(NamedTuple):
    """Published test bits/dim of an arm: mean over the seeds and its standard error; None where they are not known."""

    mean: float | None = None
    standard_error: float | None = None


@dataclass(frozen=True)
class Reproduction:
    """Arms of one configuration that the paper compares over seeds.

    Attributes:
      config: name of the installed configuration.
      num_seeds, steps: number of seeds, and steps of each run.
      arms: the first is the reference that the others are compared with.
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
        """Changes of the configuration that the runs have."""
        return (f"train.steps={self.steps}",)

    def grid(self, overrides: Sequence[str]) -> Grid:
        """The runs. An override replaces that of the comparison for the same key."""
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


def repeated_by(grid: Grid) -> dict[str, Reproduction]:
    """The comparisons of whose arms and configuration a grid has all."""
    known = COMPARISONS.items()
    return {name: one for name, one in known if one.config == grid.config and one.arms.keys() <= set(grid.arms)}


def listing() -> Section:
    """Arms, seeds, steps and published figures of each comparison."""
    rows = [
        [name, arm, one.num_seeds, f"{one.steps:,}", " ± ".join(f"{n:g}" for n in figures if n is not None) or UNKNOWN]
        for name, one in COMPARISONS.items()
        for arm, figures in one.arms.items()
    ]
    table = Table(["name", "arm", "seeds", "steps", "published bits/dim"], rows)
    return Section(f"Comparisons of {PAPER}", [table])
