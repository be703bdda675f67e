"""What makes runs of the same arm differ: the training seed, and the noise of their evaluation."""

import math
from typing import NamedTuple

import numpy as np

from diffenc_jax.stats.uncertainty import standard_errors


class Components(NamedTuple):
    """Standard deviations of a run's mean over passes and images, in the unit of the values.

    Attributes:
      between: of all that differs between runs, given the images.
      noise: of the evaluation's noise in it; None where the passes cannot tell.
      seeds: of training in it, were there no noise; None likewise.
    """

    between: float
    noise: float | None
    seeds: float | None


def components(values: np.ndarray, replicates: int | None) -> Components | None:
    """Splits what differs between the runs of S seeds, `values` [S, P, N]; None for a single seed.

      between² = var_s(x̄_s)                        x̄_s the mean of run s; var_s with S − 1
      noise²   = Σ_s e(x_s − x_·)²/(S − 1)         x_· the mean over seeds, e the `standard_errors`' noise
      seeds²   = max(between² − noise², 0)

    noise² is unbiased for what noise adds to between², whether or not the seeds share it. If each
    run has its own, of variance e², then that of x_s − x_· is e² (1 − 1/S), and the S of them add up to (S − 1) e².
    Noise that all runs have in common moves them together: it drops out of x_s − x_· as it does out of between²,
    and is in none of the three. What it may do to the mean over the runs is not told here.

    Args:
      values: [S, P, N] of the same P passes and N images for every seed, in any unit.
      replicates: as in `standard_errors`; None where the passes were not dealt into any.

    Raises:
      ValueError: the passes cannot have been dealt into so many replicates.
    """
    seeds = len(values)
    if seeds < 2:
        return None
    between = math.sqrt(values.mean(axis=(1, 2)).var(ddof=1))
    noises = [standard_errors(residual, replicates).noise for residual in values - values.mean(axis=0)]
    if None in noises:
        return Components(between, None, None)
    noise = math.sqrt(sum(noise**2 for noise in noises) / (seeds - 1))
    return Components(between, noise, math.sqrt(max(between**2 - noise**2, 0.0)))
