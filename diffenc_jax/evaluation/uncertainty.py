"""Standard errors of an evaluated mean, or of the difference of two: from the noise, and from the images.

An evaluation takes each of N images in P passes and has values x_{p,i}. Pass p belongs to replicate p mod R. The times
of one replicate are spread evenly over [0, 1), so that its passes depend on each other. Replicates are independent,
and so are images. All errors are therefore computed from the replicates' means m_{r,i}, the mean of x_{p,i} over the
passes of replicate r. The variance between passes would overestimate the noise: each pass has its own part of [0, 1),
and the passes differ also by the loss at different times, which does not affect their mean.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy

from diffenc_jax.evaluation.means import mean_and_error, quietly, variance

# Probability of stating an error of the images although all images are alike.
ALPHA = 0.05


class StandardErrors(NamedTuple):
    """Standard errors of a mean over passes and images, in the unit of the values; None where they are not determined.

    Infinite values, and values that are not numbers, determine none.

    Attributes:
      noise: error against the mean of infinitely many passes over the same images.
      images: error of a mean of noise-free values, against infinitely many images of the same distribution; None also
        where it cannot be told from the noise.
      total: error of the mean against the noise-free mean of that distribution, which contains both.
    """

    noise: float | None
    images: float | None
    total: float | None


class Difference(NamedTuple):
    """Difference a − b of two means over the same images, in the unit of the values; NaN where both are infinite."""

    mean: float
    standard_error: StandardErrors


def replicates(passes: int) -> int | None:
    """Number R of replicates that `passes` are dealt into: their smallest divisor above 1; None for one pass.

    Few replicates have many passes each, over which their times are spread. The N (R − 1) degrees of freedom that
    remain are enough wherever there are many images.
    """
    return next((r for r in range(2, passes + 1) if passes % r == 0), None)


@quietly
def standard_errors(values: np.ndarray, replicates: int | None) -> StandardErrors:
    """Standard errors of the mean of `values` [P, N], where pass p belongs to replicate p mod R.

      noise²  = (1/N²) Σ_i var_r(m_{r,i}) / R       var_r with R − 1: N (R − 1) degrees of freedom
      total²  = max(var_i(m_i) / N, noise²)         m_i the mean over all passes; var_i with N − 1
      images² = total² − noise²                     where total²/noise² is above a 95 % quantile

    noise² is unbiased given the images, whatever their variances. var_i(m_i) / N is unbiased for the sum of both, since
    every m_i carries its own noise. The quantile is taken from the F distribution with N − 1 and N − 1 degrees of
    freedom. If all images were alike, total²/noise² would have N − 1 and N (R − 1) ≥ N − 1 degrees of freedom, and an
    error of the images would be stated in at most 5 % of the evaluations.

    Args:
      values: [P, N], in any unit.
      replicates: R, a divisor of P above 1; None where the passes are not independent replicates, as for a single
        pass. Then noise and images are not determined.
    """
    return _errors(values.mean(axis=0), _noise(values, replicates))


@quietly
def means_and_errors(bits: Mapping[str, np.ndarray], replicates: int | None) -> dict[str, Any]:
    """'bpd' and 'standard_error' of a record, total and by term, from bits/dim [P, N] by term.

    Args:
      replicates: as in `standard_errors`.
    """
    means = {term: float(values.mean()) for term, values in bits.items()}
    errors = {term: standard_errors(values, replicates)._asdict() for term, values in bits.items()}
    total = standard_errors(np.sum(list(bits.values()), axis=0), replicates)._asdict()
    return {"bpd": {"total": sum(means.values()), **means}, "standard_error": {**total, "terms": errors}}


@quietly
def difference(
    a: np.ndarray, b: np.ndarray, replicates_a: int | None, replicates_b: int | None, common_noise: bool
) -> Difference:
    """Mean of `a` [P_a, N] minus mean of `b` [P_b, N], paired by image.

    Under common noise (the same times and ε for the same pass and image) the noise that both share cancels in a − b,
    and the errors are `standard_errors` of a − b. Otherwise both noises add, noise² = noise_a² + noise_b², and only
    the images are paired: total² = var_i(a_i − b_i) / N. If they share part of their noise, such as 8 and 64 passes of
    one seed, this noise² is too large, and total² is still correct.

    Args:
      a: [P_a, N]; `b`: [P_b, N] of the same images in the same order, in the same unit.
      replicates_a: as in `standard_errors`; `replicates_b` likewise.
      common_noise: whether both were evaluated under the same noise, with the same passes and replicates.
    """
    if common_noise:
        values = a - b
        return Difference(float(values.mean()), standard_errors(values, replicates_a))
    noise_a, noise_b = _noise(a, replicates_a), _noise(b, replicates_b)
    noise = None if noise_a is None or noise_b is None else math.hypot(noise_a, noise_b)
    by_image = a.mean(axis=0) - b.mean(axis=0)
    return Difference(float(by_image.mean()), _errors(by_image, noise))


def means_of_replicates(values: np.ndarray, replicates: int) -> np.ndarray:
    """The means m_{r,i} [R, N] of values [P, N] over the passes of each replicate."""
    return values.reshape(-1, replicates, values.shape[1]).mean(axis=0)


def _noise(values: np.ndarray, replicates: int | None) -> float | None:
    """Noise of the mean of values [P, N], from the means [R, N] of their replicates."""
    if replicates is None:
        return None
    means = means_of_replicates(values, replicates)
    return _known(math.sqrt(variance(means).mean() / means.size))


def _errors(by_image: np.ndarray, noise: float | None) -> StandardErrors:
    """Standard errors from the images' means [N] and the noise of their mean."""
    total = _known(float(mean_and_error(by_image)[1])) if len(by_image) > 1 else None
    if noise is None or total is None:
        return StandardErrors(noise, None, total)
    freedom = len(by_image) - 1
    is_resolved = total**2 > noise**2 * scipy.special.fdtri(freedom, freedom, 1 - ALPHA)
    return StandardErrors(noise, math.sqrt(total**2 - noise**2) if is_resolved else None, max(total, noise))


def _known(error: float) -> float | None:
    return error if math.isfinite(error) else None
