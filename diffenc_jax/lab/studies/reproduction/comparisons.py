"""The seeded comparisons of arXiv 2310.19789: configurations, seeds, steps and published figures.

The arms are those with `-published`, which undo the differences from the published training that keys can undo. Figures
of the paper that are not known here are None.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

PAPER = "arXiv 2310.19789"


class Published(NamedTuple):
    """Published test bits/dim of an arm; None where the figure is not known.

    Attributes:
      mean: mean over the seeds, as it is printed.
      standard_error: standard error of the mean over the seeds.
    """

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
      published: published figures by arm, the first of which is the reference that the others are compared with.
      flops_per_step: FLOPs of a training step by arm; see `train.flops`.
      num_seeds, steps: number of seeds, and steps of each run.
      note: what is not known.
    """

    title: str
    config: str
    published: Mapping[str, Published]
    flops_per_step: Mapping[str, float]
    num_seeds: int
    steps: int
    note: str = ""

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(self.published)

    @property
    def reference(self) -> str:
        return self.arms[0]

    @property
    def overrides(self) -> tuple[str, ...]:
        """Changes of the configuration that the runs have."""
        return (f"train.steps={self.steps}",)

    @property
    def flops(self) -> float:
        """FLOPs of all runs."""
        return sum(self.flops_per_step[arm] for arm in self.arms) * self.steps * self.num_seeds

    def hours(self, chips: int, flops_per_second: float) -> float:
        """Hours of all runs on `chips` chips, each of which makes `flops_per_second`."""
        return self.flops / (chips * flops_per_second) / 3600


NO_ERRORS = "standard errors are not known"
COMPARISONS = {
    "cifar10-large": Comparison(
        "CIFAR-10, 32 layers: DiffEnc-32-4 and VDM",
        "cifar10",
        {"vdm-published": Published(2.641, 0.003), "diffenc-published": Published(2.620, 0.006)},
        {"vdm-published": 1.982e13, "diffenc-published": 2.194e13},
        num_seeds=3,
        steps=8_000_000,
    ),
    "cifar10-small": Comparison(
        "CIFAR-10, 8 layers: DiffEnc-8-2 and VDM",
        "cifar10",
        {"vdm-8-published": Published(2.783), "diffenc-8-2-published": Published(2.783)},
        {"vdm-8-published": 5.790e12, "diffenc-8-2-published": 7.033e12},
        num_seeds=5,
        steps=2_000_000,
        note=NO_ERRORS,
    ),
    "cifar10-nontrainable": Comparison(
        "CIFAR-10, 8 layers: the non-trainable encoder and VDM",
        "cifar10",
        {"vdm-8-published": Published(2.783), "nontrainable-8-published": Published()},
        {"vdm-8-published": 5.790e12, "nontrainable-8-published": 5.790e12},
        num_seeds=5,
        steps=2_000_000,
        note=f"the figure of the non-trainable encoder is not known; {NO_ERRORS}",
    ),
    "mnist": Comparison(
        "MNIST, 8 layers: DiffEnc-8-2, the non-trainable encoder and VDM",
        "mnist",
        {"vdm-8-published": Published(), "diffenc-8-2-published": Published(), "nontrainable-8-published": Published()},
        {"vdm-8-published": 4.360e12, "diffenc-8-2-published": 5.295e12, "nontrainable-8-published": 4.360e12},
        num_seeds=5,
        steps=2_000_000,
        note="the figures are not known",
    ),
    "imagenet32": Comparison(
        "ImageNet 32x32, the new version, 32 layers: DiffEnc-32-8 and VDM",
        "imagenet32",
        {"vdm-published": Published(3.46), "diffenc-published": Published(3.46)},
        {"vdm-published": 1.572e14, "diffenc-published": 1.649e14},
        num_seeds=3,
        steps=1_500_000,
        note=f"{NO_ERRORS}; the number of steps is that of a review of the paper",
    ),
}
