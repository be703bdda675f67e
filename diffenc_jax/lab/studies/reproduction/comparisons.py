"""The seeded comparisons of arXiv 2310.19789: configurations, seeds, steps, published figures and costs.

The arms are those with `-published`, which undo the differences from the published training that keys can undo. Figures
of the paper that are not known here are None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from diffenc_jax.core.document import Items, Section, Table, Text
from diffenc_jax.lab.studies.compile_check.peaks import PEAKS
from diffenc_jax.lab.studies.significance.grid import Grid

PAPER = "arXiv 2310.19789"
CHIP, CHIP_COUNTS, SHARE_OF_PEAK = "v5e", (4, 16, 64), 0.4  # for which hours are listed


class Published(NamedTuple):
    """An arm of the paper.

    Attributes:
      flops_per_step: FLOPs of a training step; see `train.flops`.
      mean: published test bits/dim, mean over the seeds, as it is printed; None if it is not known.
      standard_error: standard error of the mean over the seeds; None if it is not known.
    """

    flops_per_step: float
    mean: float | None = None
    standard_error: float | None = None

    def __str__(self) -> str:
        if self.mean is None:
            return "not known"
        return f"{self.mean:g}" if self.standard_error is None else f"{self.mean:.3f} ± {self.standard_error:.3f}"


@dataclass(frozen=True)
class Comparison:
    """Arms of one configuration that the paper compares over seeds.

    Attributes:
      title: data and models.
      config: name of the installed configuration.
      num_seeds, steps: number of seeds, and steps of each run.
      arms: the first is the reference that the others are compared with.
      note: what is not known.
    """

    title: str
    config: str
    num_seeds: int
    steps: int
    arms: Mapping[str, Published]
    note: str = ""

    @property
    def reference(self) -> str:
        return next(iter(self.arms))

    @property
    def overrides(self) -> tuple[str, ...]:
        """Changes of the configuration that the runs have."""
        return (f"train.steps={self.steps}",)

    @property
    def flops(self) -> float:
        """FLOPs of all runs."""
        return sum(arm.flops_per_step for arm in self.arms.values()) * self.steps * self.num_seeds

    def grid(self, name: str, overrides: Sequence[str]) -> Grid:
        """The runs. An override replaces that of the comparison, `name`, for the same key."""
        keys = {override.partition("=")[0] for override in overrides}
        own = [override for override in self.overrides if override.partition("=")[0] not in keys]
        changes, seeds = (*own, *overrides), tuple(range(self.num_seeds))
        return Grid(self.config, tuple(self.arms), seeds, changes, None, self.reference, reproduces=(name,))


NO_ERRORS = "standard errors are not known"
COMPARISONS = {
    "cifar10-large": Comparison(
        "CIFAR-10, 32 layers: DiffEnc-32-4 and VDM",
        "cifar10",
        3,
        8_000_000,
        {
            "vdm-published": Published(1.982e13, 2.641, 0.003),
            "diffenc-published": Published(2.194e13, 2.620, 0.006),
        },
    ),
    "cifar10-small": Comparison(
        "CIFAR-10, 8 layers: DiffEnc-8-2 and VDM",
        "cifar10",
        5,
        2_000_000,
        {"vdm-8-published": Published(5.790e12, 2.783), "diffenc-8-2-published": Published(7.033e12, 2.783)},
        NO_ERRORS,
    ),
    "cifar10-nontrainable": Comparison(
        "CIFAR-10, 8 layers: the non-trainable encoder and VDM",
        "cifar10",
        5,
        2_000_000,
        {"vdm-8-published": Published(5.790e12, 2.783), "nontrainable-8-published": Published(5.790e12)},
        f"the figure of the non-trainable encoder is not known; {NO_ERRORS}",
    ),
    "mnist": Comparison(
        "MNIST, 8 layers: DiffEnc-8-2, the non-trainable encoder and VDM",
        "mnist",
        5,
        2_000_000,
        {
            "vdm-8-published": Published(4.360e12),
            "diffenc-8-2-published": Published(5.295e12),
            "nontrainable-8-published": Published(4.360e12),
        },
        "the figures are not known",
    ),
    "imagenet32": Comparison(
        "ImageNet 32x32, the new version, 32 layers: DiffEnc-32-8 and VDM",
        "imagenet32",
        3,
        1_500_000,
        {"vdm-published": Published(1.572e14, 3.46), "diffenc-published": Published(1.649e14, 3.46)},
        f"{NO_ERRORS}; the number of steps is that of a review of the paper",
    ),
}


def listing() -> Section:
    """Arms, seeds, steps, published figures and costs of each comparison."""
    rate = SHARE_OF_PEAK * PEAKS[CHIP].device_flops * 3600
    items, arms, costs = [], [], []
    for name, comparison in COMPARISONS.items():
        items.append(f"{name}: {'; '.join(filter(None, [comparison.title, comparison.note]))}")
        common = comparison.num_seeds, f"{comparison.steps:,}"
        arms += [[name, arm, *common, published] for arm, published in comparison.arms.items()]
        hours = (f"{comparison.flops / (chips * rate):,.0f}" for chips in CHIP_COUNTS)
        costs.append([name, f"{comparison.flops:.1e}", *hours])
    text = (
        f"Costs are those of training all arms and seeds; hours are those on this many {CHIP} chips at "
        f"{100 * SHARE_OF_PEAK:.0f} % of their bfloat16 peak. Bits/dim are means over seeds ± standard errors."
    )
    tables = [
        Table(["name", "arm", "seeds", "steps", "published bits/dim"], arms),
        Table(["name", "FLOPs", *(f"hours on {chips} chips" for chips in CHIP_COUNTS)], costs),
    ]
    return Section(f"Comparisons of {PAPER}", [Items(items), *tables, Text(text)])
