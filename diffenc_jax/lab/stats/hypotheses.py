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
from functools import partial, reduce

import numpy as np
import scipy

# Differences below this fraction of the largest value are rounding in float64.
ROUNDING = 1e-12
PAIRED_T, WELCH_T, SIGN_FLIP = "paired t", "Welch t", "sign flips"
# Up to 16 seeds have fewer ways to flip signs than this, and all of them are enumerated.
RANDOM_FLIPS = 99_999


@dataclass(frozen=True)
class Outcome:
    """Outcome of a test of arm a against arm b; floats, or arrays where many experiments are tested at once.

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
    statistic: float | np.ndarray
    df: float | np.ndarray | None
    p_two_sided: float | np.ndarray
    p_one_sided_less: float | np.ndarray
    p_one_sided_greater: float | np.ndarray


def welch_t(a: np.ndarray, b: np.ndarray) -> Outcome:
    """Welch's test of `a` [..., n_a] against `b` [..., n_b], for unequal variances (Welch 1947).

      t  = (ā − b̄)/√(e_a² + e_b²)                                  e² = var/n, var with n − 1
      df = (e_a² + e_b²)²/(e_a⁴/(n_a − 1) + e_b⁴/(n_b − 1))

    It rejects too rarely if arms have the same seeds and positively correlated values.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    lowest_df = min(a.shape[-1], b.shape[-1]) - 1
    varies = (np.ptp(a, axis=-1) > _rounding(a)) | (np.ptp(b, axis=-1) > _rounding(b))
    return _t_outcome(WELCH_T, partial(scipy.stats.ttest_ind, a, b, equal_var=False), varies, lowest_df)


def paired_t(a: np.ndarray, b: np.ndarray) -> Outcome:
    """Student's test of the differences `a` − `b`, both [..., n], with n − 1 degrees of freedom."""
    differences = np.subtract(a, b, dtype=float)
    varies = np.ptp(differences, axis=-1) > _rounding(a, b)
    test = partial(scipy.stats.ttest_1samp, differences, 0.0)
    return _t_outcome(PAIRED_T, test, varies, differences.shape[-1] - 1)


def sign_flip(a: np.ndarray, b: np.ndarray) -> Outcome:
    """Permutation test of the differences `a` − `b`, both [..., n]: under the hypothesis each may be negated.

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
        axis=-1,
        rng=np.random.default_rng(0),
    )
    # Ties in exact arithmetic count as ties although the differences carry the rounding of the values.
    rounding, flipped = _rounding(a, b), result.null_distribution
    added = int(2 ** differences.shape[-1] > RANDOM_FLIPS)  # the given flip, where not all are enumerated
    less = (np.count_nonzero(flipped <= result.statistic + rounding, axis=0) + added) / (len(flipped) + added)
    greater = (np.count_nonzero(flipped >= result.statistic - rounding, axis=0) + added) / (len(flipped) + added)
    both = np.minimum(2 * np.minimum(less, greater), 1)
    return Outcome(SIGN_FLIP, _plain(result.statistic), None, _plain(both), _plain(less), _plain(greater))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust p values [..., m] for m tests, in the order given (Holm 1979).

    With p_(1) ≤ … ≤ p_(m), the adjusted p_(k) is max_{j ≤ k} (m − j + 1) p_(j), at most 1. If all hypotheses with an
    adjusted p below 5 % are rejected, a true hypothesis is among them with probability at most 5 %, for any dependence
    between the tests.

    Raises ValueError for a p value outside [0, 1], or nan. Leave out tests that could not be made; they do not count in
    m.
    """
    p_values = np.asarray(p_values, dtype=float)
    if not np.all((p_values >= 0) & (p_values <= 1)):
        raise ValueError(f"p values must lie in [0, 1], unlike some of {p_values.tolist()}")
    m = p_values.shape[-1]
    order = p_values.argsort(axis=-1)
    steps = np.take_along_axis(p_values, order, axis=-1) * (m - np.arange(m))
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1), axis=-1)
    return adjusted


def _t_outcome(name: str, test: Callable, varies: np.ndarray, lowest_df: int) -> Outcome:
    """Outcome of scipy's `test`; if not `varies`, statistic 0, the lower bound of df, and p 1."""
    with warnings.catch_warnings(action="ignore"):  # about values that hardly vary
        result = test(axis=-1)
    t, df = np.where(varies, result.statistic, 0.0), np.where(varies, result.df, float(lowest_df))
    ps = result.pvalue, scipy.stats.t.cdf(t, df), scipy.stats.t.sf(t, df)
    return Outcome(name, *map(_plain, (t, df, *(np.where(varies, p, 1.0) for p in ps))))


def _rounding(*arms: np.ndarray) -> np.ndarray:
    """Difference [...] up to which values computed from `arms`, [..., n] each, are equal except for rounding."""
    return ROUNDING * reduce(np.maximum, (np.abs(x).max(axis=-1) for x in arms))


def _plain(x: np.ndarray) -> float | np.ndarray:
    """Python float of a scalar, which prints as a number."""
    return float(x) if np.ndim(x) == 0 else x
