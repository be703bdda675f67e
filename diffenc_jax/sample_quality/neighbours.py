"""Whether samples are copies of training images: how near the nearest one is, against unseen images."""

from typing import NamedTuple

import numpy as np

from diffenc_jax.sample_quality.features import flat
from diffenc_jax.stats.distributions import rank_sum
from diffenc_jax.stats.hypotheses import Outcome

CHUNK = 10_000
# Samples count as near if they are nearer to a training image than all but this part of the unseen images.
NEAR = 0.05
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class Neighbours(NamedTuple):
    """Of images, each one's nearest among those trained on.

    Attributes:
      distances: [N] to it, L2 in levels.
      numbers: [N] its number among them.
    """

    distances: np.ndarray
    numbers: np.ndarray

    @property
    def quantiles(self) -> dict[str, float]:
        """Of the distances, by '0.05' and the like."""
        return dict(zip(map(str, QUANTILES), np.quantile(self.distances, QUANTILES).tolist(), strict=True))

    @property
    def copies(self) -> float:
        """The part that is equal to an image trained on."""
        return float(np.mean(self.distances == 0))


def nearest(images: np.ndarray, train: np.ndarray) -> Neighbours:
    """Of uint8 `images` [N, H, W, C] among `train` [M, H, W, C]; the first of those that are equally near.

    Distances are of whole numbers in float64, so that those of copies are zero.
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    ours = flat(images, np.float64)
    distances, numbers = np.full(len(images), np.inf), np.zeros(len(images), np.int64)
    for start in range(0, len(train), CHUNK):
        found, apart = pairwise_distances_argmin_min(ours, flat(train[start : start + CHUNK], np.float64))
        nearer = apart < distances
        distances[nearer], numbers[nearer] = apart[nearer], found[nearer] + start
    return Neighbours(distances, numbers)


def near(samples: Neighbours, unseen: Neighbours) -> float:
    """The part of the samples nearer to training images than all but `NEAR` of the unseen images are."""
    return float(np.mean(samples.distances < np.quantile(unseen.distances, NEAR)))


def copying(samples: Neighbours, unseen: Neighbours) -> Outcome:
    """The global data-copying test Z_U (Meehan et al., arXiv 2004.05675, section 3): ranks of the distances.

    Far below zero, samples lie nearer to training images than images of the same distribution do: they are copied.
    Far above, samples lie farther off than real images.
    """
    return rank_sum(samples.distances, unseen.distances)
