"""Bootstrap intervals for a mean over seeds and images, with their measured coverage.

Values x_{s,i} of S training seeds and N test images are crossed: image i is the same for every seed. The difficulty of
an image does not average out over the seeds, so images are resampled for all seeds together.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy

from diffenc_jax.evaluation.means import mean_of


class Bootstrap(NamedTuple):
    """Intervals [low, high] for the mean, in the unit of the values.

    Attributes:
      seeds: for the mean over infinitely many seeds on the same images.
      images: for the mean of the same runs over infinitely many images.
      seeds_and_images: for the mean over infinitely many of both.
    """

    seeds: tuple[float, float]
    images: tuple[float, float]
    seeds_and_images: tuple[float, float]


def bootstrap(values: np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Bootstrap:
    """Intervals for the mean of `values` [S, N]: over seeds, over images, and over both.

    The first resamples the S means of the seeds, the second the N means of the images. For few values a percentile
    interval [l, u] of the resampled means is far too short: with five seeds its coverage is 83 % instead of 95 %.
    Hesterberg's expanded interval (arXiv 1411.5279) cannot reach beyond the smallest and largest value, and covers
    75 % with three seeds. So the resamples determine only the skewness, and Student's t the length, for n values with
    mean x̄ and standard deviation sd:

      [x̄ − c (x̄ − l), x̄ + c (u − x̄)]          c (u − l) = 2 t_{n−1} sd/√n

    Seeds and images are independent, so for both together the distances from the mean to the ends of the two
    intervals add in quadrature (MOVER; Zou and Donner, Statistics in Medicine 27, 2008): low = x̄ − √((x̄ − l_seeds)² +
    (x̄ − l_images)²). The interaction of seed and image counts in both, which errs on the long side.

    In simulations the 95 % interval over seeds covers 95 % for normal seeds, with 2, 3, 5 or 10 of them. At skewness
    1 it covers 93 to 94 %, at skewness 2 88 % with three seeds, 89 % with five and 91 % with ten: so few seeds cannot
    show a tail. Student's interval (`mean_of`) does as well, or 1 % worse for skewed seeds. Over 100 images coverage
    is 94 to 95 %; over both 95 to 98 %, and above 99 % where the interaction dominates.

    Args:
      values: [S, N], in any unit, S and N above 1.
      level: level of each interval.
      resamples: number of resamples; n values with n^n ≤ resamples are resampled in all n^n ways.
      seed: seed of the resamples.

    Raises:
      ValueError: there are fewer than two seeds or images, or `level` does not lie between 0 and 1.
    """
    if min(values.shape) < 2:
        raise ValueError(f"resampling needs at least two seeds and images, not {' and '.join(map(str, values.shape))}")
    rng = np.random.default_rng(seed)
    mean = float(values.mean())
    seeds = _distances(values.mean(axis=1), level, resamples, rng)
    images = _distances(values.mean(axis=0), level, resamples, rng)
    both = tuple(map(math.hypot, seeds, images))
    return Bootstrap(*((mean - below, mean + above) for below, above in (seeds, images, both)))


def _distances(sample: np.ndarray, level: float, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Distances from the mean of `sample` [n] down and up to the ends of its interval."""
    mean, student = sample.mean(), mean_of(sample, level).interval
    assert student is not None  # there are at least two values
    low, high = np.quantile(_resampled_means(sample, resamples, rng), [(1 - level) / 2, (1 + level) / 2])
    if low == high:
        return 0.0, 0.0
    scale = (student[1] - student[0]) / (high - low)
    return float(scale * (mean - low)), float(scale * (high - mean))


def _resampled_means(sample: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of n values drawn from `sample` [n] with replacement: all n^n ways, or `resamples` random ones."""
    n = len(sample)
    if n**n <= resamples:
        return sample[np.indices((n,) * n)].mean(axis=0).ravel()
    drawn = scipy.stats.bootstrap((sample,), np.mean, n_resamples=resamples, batch=100, method="percentile", rng=rng)
    return drawn.bootstrap_distribution
