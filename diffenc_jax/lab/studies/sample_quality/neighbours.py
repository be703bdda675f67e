"""Copies of training images among samples: distances to the nearest training image, beside those of unseen images."""

from typing import NamedTuple

import numpy as np

from diffenc_jax.lab.stats.distributions import rank_sum
from diffenc_jax.lab.stats.hypotheses import Outcome
from diffenc_jax.lab.studies.sample_quality.features import flatten

CHUNK = 10_000
# A sample is near if it is nearer to a training image than all but this fraction of the unseen images.
NEAR = 0.05
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class Neighbours(NamedTuple):
    """The nearest training image of each of N images.

    Attributes:
      distances: [N] to it, L2 in levels.
      numbers: [N] its position among the training images.
    """

    distances: np.ndarray
    numbers: np.ndarray

    @property
    def quantiles(self) -> dict[str, float]:
        """Quantiles of the distances, by '0.05' and so on."""
        return dict(zip(map(str, QUANTILES), np.quantile(self.distances, QUANTILES).tolist(), strict=True))

    @property
    def copies(self) -> float:
        """Fraction of the images that equal a training image."""
        return float(np.mean(self.distances == 0))


def nearest(images: np.ndarray, train: np.ndarray) -> Neighbours:
    """Nearest of `train` [M, H, W, C] to each of uint8 `images` [N, H, W, C]; the first one among equally near ones.

    Distances are computed in float64 from whole numbers, so that those of copies are exactly zero.
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    ours = flatten(images, np.float64)
    distances, numbers = np.full(len(images), np.inf), np.zeros(len(images), np.int64)
    for start in range(0, len(train), CHUNK):
        found, between = pairwise_distances_argmin_min(ours, flatten(train[start : start + CHUNK], np.float64))
        nearer = between < distances
        distances[nearer], numbers[nearer] = between[nearer], found[nearer] + start
    return Neighbours(distances, numbers)


def near(samples: Neighbours, unseen: Neighbours) -> float:
    """Fraction of the samples nearer to training images than all but `NEAR` of the unseen images."""
    return float(np.mean(samples.distances < np.quantile(unseen.distances, NEAR)))


def copying(samples: Neighbours, unseen: Neighbours) -> Outcome:
    """The global data-copying test Z_U (Meehan et al., arXiv 2004.05675, section 3): ranks of the distances.

    Far below zero, samples lie nearer to training images than images of the same distribution: they are copies. Far
    above zero, samples lie farther away than real images.
    """
    return rank_sum(samples.distances, unseen.distances)
