"""Variance components of runs that differ in their seeds: training, and the noise of the evaluation."""

import math
from typing import NamedTuple

import numpy as np

from diffenc_jax.evaluation.uncertainty import standard_errors


class Components(NamedTuple):
    """Standard deviations of a run's mean over passes and images, in the unit of the values.

    Attributes:
      between: due to everything that differs between runs, given the images.
      noise: the part of the evaluation's noise in `between`; None where the passes do not determine it.
      seeds: the part of training in `between`; None likewise, and where `between` is not above `noise`.
    """

    between: float
    noise: float | None
    seeds: float | None


def components(values: np.ndarray, replicates: int | None) -> Components | None:
    """Split the variance between S runs, `values` [S, P, N], into noise and training; None for a single run.

      between² = var_s(x̄_s)                        x̄_s the mean of run s; var_s with S − 1
      noise²   = Σ_s e(x_s − x_·)²/(S − 1)         x_· the mean over seeds, e the noise of `standard_errors`
      seeds²   = between² − noise²

    noise² is unbiased for the contribution of noise to between², whether or not the runs share their noise. If each
    run has its own, of variance e², then that of x_s − x_· is e² (1 − 1/S), and the S of them add up to (S − 1) e².
    Noise that is common to all runs shifts them together: it cancels in x_s − x_· as in between², and none of the
    three contains it.

    Args:
      values: [S, P, N] of the same P passes and N images for every seed, in any unit.
      replicates: see `standard_errors`.

    Raises:
      ValueError: the passes do not divide into so many replicates.
    """
    seeds = len(values)
    if seeds < 2:
        return None
    between = math.sqrt(values.mean(axis=(1, 2)).var(ddof=1))
    noises = [standard_errors(residual, replicates).noise for residual in values - values.mean(axis=0)]
    known = [noise for noise in noises if noise is not None]
    if len(known) < seeds:
        return Components(between, None, None)
    noise = math.sqrt(sum(noise**2 for noise in known) / (seeds - 1))
    return Components(between, noise, math.sqrt(between**2 - noise**2) if between > noise else None)
