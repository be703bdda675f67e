"""Tests of whether two arms differ in the mean of a value per training seed.

Arms that are trained under the same seeds share the order of the data, times and noise. If their values are correlated
for this reason, the paired tests detect smaller differences than Welch's test. With few seeds the sign-flip test can
never reject: its smallest two-sided p is 2/2^n, 1/16 for five seeds.

If values vary only by rounding, a t test has no scale for their difference. It then never rejects: the statistic is 0
and p is 1, for any difference between the arms. The reason: equal results probably come from one run that was evaluated
n times, or from too much rounding.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy

# Differences below this fraction of the largest value are rounding in float64.
ROUNDING = 1e-12
PAIRED_T, WELCH_T, SIGN_FLIP = "paired t", "Welch t", "sign flips"
# Up to 16 seeds have fewer ways to flip signs than this, and all of them are enumerated.
RANDOM_FLIPS = 99_999


@dataclass(frozen=True)
class Outcome:
    """Outcome of a test of arm a against arm b.

    A one-sided p is valid only if its direction is fixed before the values are known. Taking the smaller of the two p
    afterwards doubles the rate of false rejections.

    Attributes:
      name: name of the test.
      statistic: positive if the mean of a is larger than the mean of b.
      df: degrees of freedom; None for a test without any.
      p_two_sided: p against equal means.
      p_one_sided_less: p for the alternative that the mean of a is smaller than the mean of b.
      p_one_sided_greater: p for the alternative that the mean of a is larger than the mean of b.
    """

    name: str
    statistic: float
    df: float | None
    p_two_sided: float
    p_one_sided_less: float
    p_one_sided_greater: float


def welch_t(a: np.ndarray, b: np.ndarray) -> Outcome:
    """Welch's test of `a` [n_a] against `b` [n_b], for unequal variances (Welch 1947).

      t  = (ā − b̄)/√(e_a² + e_b²)                                  e² = var/n, var with n − 1
      df = (e_a² + e_b²)²/(e_a⁴/(n_a − 1) + e_b⁴/(n_b − 1))

    It rejects too rarely if arms have the same seeds and positively correlated values.
    """
    varies = np.ptp(a) > _rounding(a) or np.ptp(b) > _rounding(b)
    return _t_outcome(WELCH_T, partial(scipy.stats.ttest_ind, a, b, equal_var=False), varies, min(len(a), len(b)) - 1)


def paired_t(a: np.ndarray, b: np.ndarray) -> Outcome:
    """Student's test of the differences `a` − `b`, both [n], with n − 1 degrees of freedom."""
    differences = np.subtract(a, b, dtype=float)
    varies = np.ptp(differences) > _rounding(a, b)
    return _t_outcome(PAIRED_T, partial(scipy.stats.ttest_1samp, differences, 0.0), varies, len(differences) - 1)


def sign_flip(a: np.ndarray, b: np.ndarray) -> Outcome:
    """Permutation test of the differences `a` − `b`, both [n]: under the hypothesis each may be negated.

    The statistic is the mean difference. p is the fraction of sign flips with a mean at least as extreme as the given
    one, out of all 2^n sign flips, which include the given signs. p is exact for any distribution in which a difference
    and its negative are equally likely. The two-sided p is twice the smaller one-sided p, at most 1. For n >= 17, a
    fixed set of 99,999 random sign flips is used, and the given signs are added to it. This keeps false rejections at
    or below the level (Phipson and Smyth, arXiv 1603.05766).
    """
    differences = np.subtract(a, b, dtype=float)
    result = scipy.stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RANDOM_FLIPS,
        rng=np.random.default_rng(0),
    )
    # Ties in exact arithmetic count as ties although the differences carry the rounding of the values.
    rounding, flipped = _rounding(a, b), result.null_distribution
    added = int(2 ** len(differences) > RANDOM_FLIPS)  # the given flip, where not all are enumerated
    extreme = flipped <= result.statistic + rounding, flipped >= result.statistic - rounding
    less, greater = ((np.count_nonzero(flips) + added) / (len(flipped) + added) for flips in extreme)
    return Outcome(SIGN_FLIP, float(result.statistic), None, min(2 * less, 2 * greater, 1.0), less, greater)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust p values [m] for m tests, in the order given (Holm 1979).

    With p_(1) ≤ … ≤ p_(m), the adjusted p_(k) is max_{j ≤ k} (m − j + 1) p_(j), at most 1. If all hypotheses with an
    adjusted p below 5 % are rejected, a true hypothesis is among them with probability at most 5 %, for any dependence
    between the tests.

    Raises ValueError for a p value outside [0, 1], or nan. Leave out tests that could not be made; they do not count in
    m.
    """
    p_values = np.asarray(p_values, dtype=float)
    if not np.all((p_values >= 0) & (p_values <= 1)):
        raise ValueError(f"p values must lie in [0, 1], unlike some of {p_values.tolist()}")
    order, m = p_values.argsort(), len(p_values)
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * (m - np.arange(m))), 1)
    return adjusted


def _t_outcome(name: str, test: Callable, varies: bool, lowest_df: int) -> Outcome:
    """Outcome of scipy's `test`; if not `varies`, statistic 0, the lower bound of df, and p 1."""
    if not varies:
        return Outcome(name, 0.0, float(lowest_df), 1.0, 1.0, 1.0)
    with warnings.catch_warnings(action="ignore"):  # about an arm that hardly varies
        result = test()
    ps = result.pvalue, *(tail(result.statistic, result.df) for tail in (scipy.stats.t.cdf, scipy.stats.t.sf))
    return Outcome(name, *map(float, (result.statistic, result.df, *ps)))


def _rounding(*arms: np.ndarray) -> float:
    """Difference up to which values computed from `arms`, [n] each, are equal except for rounding."""
    return ROUNDING * max(float(np.abs(x).max()) for x in arms)
