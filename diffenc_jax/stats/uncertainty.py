"""How far an evaluated mean, or the difference of two, may be off: from the noise, and from the images.

An evaluation looks at each of N images in P passes and so has values x_{p,i}. Pass p belongs to
replicate p mod R. The times of one replicate are spread evenly over [0, 1), so that its passes
depend on each other; replicates do not, and neither do images. So everything here is computed from
the replicates' means m_{r,i}, the mean of x_{p,i} over the passes of replicate r.

The variance *between passes* is of no use: each pass has its own part of [0, 1), and what differs
between them is also the loss at different times, which the mean over the passes does not suffer from.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np


class StandardErrors(NamedTuple):
    """Of a mean over the passes and images, in the unit of the values; None where it cannot be told.

    Attributes:
      noise: against the mean that endless passes over the same images would have.
      images: of a mean of noise-free values, against other images of the same distribution.
      total: of the mean as it is, against the noise-free mean of that distribution; holds both.
    """

    noise: float | None
    images: float | None
    total: float | None


class Difference(NamedTuple):
    """Of two means over the same images, a − b, in the unit of the values."""

    mean: float
    standard_error: StandardErrors


def mean_and_error(by_image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of [N, ...] over its N images, and its standard error, that of the total, in the unit of the values."""
    return by_image.mean(axis=0), np.sqrt(by_image.var(axis=0, ddof=1) / len(by_image))


def replicates(passes: int) -> int | None:
    """R, into how many replicates `passes` are dealt: their smallest divisor above 1; None for one pass.

    Few replicates leave many passes to each, over which its times are spread; the N (R − 1) degrees
    of freedom that are left are enough wherever there are many images.
    """
    if passes < 1:
        raise ValueError(f"there must be at least one pass, not {passes}")
    return next((r for r in range(2, passes + 1) if passes % r == 0), None)


def standard_errors(values: np.ndarray, replicates: int | None) -> StandardErrors:
    """Of the mean of `values` [P, N], pass p of which belongs to replicate p mod R.

      noise²  = (1/N²) Σ_i var_r(m_{r,i}) / R       var_r with R − 1: N (R − 1) degrees of freedom
      total²  = var_i(m_i) / N                      m_i the mean over all passes; var_i with N − 1
      images² = max(total² − noise², 0)

    noise² is unbiased given the images, whatever their variances. total² is unbiased for the sum of
    both, since every m_i already carries its own noise; what it exceeds noise² by is the images'.

    Args:
      values: [P, N], in any unit.
      replicates: R, a divisor of P above 1; None where the passes were not dealt into any, as a
        single one is not. Then noise and images cannot be told.

    Raises:
      ValueError: the passes cannot have been dealt into so many replicates.
    """
    total = _total(values.mean(axis=0))
    noise = _noise(values, replicates)
    return StandardErrors(noise, _images(total, noise), total)


def difference(
    a: np.ndarray, b: np.ndarray, replicates_a: int | None, replicates_b: int | None, common_noise: bool
) -> Difference:
    """The mean of `a` [P_a, N] less that of `b` [P_b, N], paired by image.

    Under common noise (the same times and ε at the same pass and image) the differences a − b are
    values like any other, and what both owe to the noise cancels: `standard_errors` of a − b. Else
    both noises add, noise² = noise_a² + noise_b², and only the images are paired:
    total² = var_i(a_i − b_i) / N. Where they share a part of their noise after all, as 8 and 64
    passes of one seed do, that noise² is too large, and total² still right.

    Args:
      a: [P_a, N]; `b`: [P_b, N] of the same images in the same order, in the same unit.
      replicates_a: as in `standard_errors`; `replicates_b` likewise.
      common_noise: whether both were evaluated under the same noise, with the same passes and replicates.

    Raises:
      ValueError: they are not of the same images, or cannot have had common noise.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape[1]} and {b.shape[1]} images cannot be paired")
    if common_noise:
        if (len(a), replicates_a) != (len(b), replicates_b):
            raise ValueError("with common noise both have the same passes and replicates")
        values = a - b
        return Difference(float(values.mean()), standard_errors(values, replicates_a))
    noises = _noise(a, replicates_a), _noise(b, replicates_b)
    noise = None if None in noises else math.hypot(*noises)
    by_image = a.mean(axis=0) - b.mean(axis=0)
    total = _total(by_image)
    return Difference(float(by_image.mean()), StandardErrors(noise, _images(total, noise), total))


def interval(mean: float, standard_error: float, level: float = 0.95) -> tuple[float, float]:
    """mean ± z se, where a normal variable lies within ±z of its standard deviations with probability `level`."""
    half = NormalDist().inv_cdf((1 + level) / 2) * standard_error
    return mean - half, mean + half


def _noise(values: np.ndarray, replicates: int | None) -> float | None:
    """Of values [P, N], from the means [R, N] of their replicates."""
    if replicates is None:
        return None
    passes, images = values.shape
    if replicates < 2 or passes % replicates:
        raise ValueError(f"{passes} passes cannot be {replicates} replicates; a divisor of them above 1 can")
    means = values.reshape(-1, replicates, images).mean(axis=0)
    return math.sqrt(means.var(axis=0, ddof=1).mean() / means.size)


def _total(by_image: np.ndarray) -> float | None:
    """From images' means [N]."""
    return float(mean_and_error(by_image)[1]) if len(by_image) > 1 else None


def _images(total: float | None, noise: float | None) -> float | None:
    return None if total is None or noise is None else math.sqrt(max(total**2 - noise**2, 0.0))
