"""The mean of a few values, such as one a training seed, and how far it may be off."""

import math
from typing import NamedTuple

import numpy as np
import scipy


class Mean(NamedTuple):
    """Of n values, in their unit; what a single value cannot tell is None.

    Attributes:
      n: how many values.
      mean: of them.
      sd: standard deviation of a value, with n − 1.
      standard_error: of the mean, sd/√n.
      interval: for the mean of the distribution that the values come from, by Student's t.
    """

    n: int
    mean: float
    sd: float | None
    standard_error: float | None
    interval: tuple[float, float] | None


def mean_of(values: np.ndarray, level: float = 0.95) -> Mean:
    """The mean of `values` [n], its interval mean ± t sd/√n with t's quantile at n − 1 degrees of freedom.

    Raises:
      ValueError: there is no value, or `level` does not lie between 0 and 1.
    """
    n = len(values)
    if n == 0:
        raise ValueError("a mean is of at least one value, not of none")
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, as 0.95 does, and is not {level}")
    mean = float(np.mean(values))
    if n == 1:
        return Mean(n, mean, None, None, None)
    sd = float(np.std(values, ddof=1))
    error = sd / math.sqrt(n)
    half = float(scipy.stats.t.isf((1 - level) / 2, n - 1)) * error
    return Mean(n, mean, sd, error, (mean - half, mean + half))
