"""Comparison of two sets of values: a rank test, and the area under the ROC curve."""

from typing import NamedTuple

import numpy as np
import scipy

from diffenc_jax.lab.stats.hypotheses import Outcome


class Area(NamedTuple):
    """Area under a ROC curve, and its standard error; None where one of the two sets is a single value."""

    area: float
    standard_error: float | None


def rank_sum(a: np.ndarray, b: np.ndarray) -> Outcome:
    """Mann and Whitney's test of whether values `a` [m] tend to be smaller or larger than `b` [n].

    U is the number of pairs in which the value of a is the larger, with ties counted half. The statistic is

      z = (U − mn/2)/√(mn (m + n + 1 − Σ_t (t³ − t)/((m + n)(m + n − 1)))/12)

    for t values in a tie, and p follows from its normal limit. If all values are equal, it is 0 and p 1.
    """
    m, n = len(a), len(b)
    ranks = scipy.stats.rankdata(np.concatenate([a, b]))
    variance = m * n * (m + n + 1) / 12 * scipy.stats.tiecorrect(ranks)
    excess = ranks[:m].sum() - m * (m + 1) / 2 - m * n / 2
    z = float(excess / np.sqrt(variance)) if variance > 0 else 0.0
    less, greater = (float(p(z)) if variance > 0 else 1.0 for p in (scipy.stats.norm.cdf, scipy.stats.norm.sf))
    return Outcome("Mann-Whitney", z, None, min(2 * less, 2 * greater, 1.0), less, greater)


def auroc(a: np.ndarray, b: np.ndarray) -> Area:
    """Area under the ROC curve of scores, of `a` [m] as positives against `b` [n] as negatives.

    The probability that a random score of a is larger than one of b, with ties counted half: U / (mn) of `rank_sum`.
    The standard error is DeLong's (1988), with V_i the fraction of b below a_i, and W_j that of a above b_j:

      error² = var_i(V_i) / m + var_j(W_j) / n.

    It is 0 for sets that do not overlap, where it says nothing about the area of other samples.
    """
    above = _placements(a, b)
    if min(len(a), len(b)) < 2:
        return Area(float(above.mean()), None)
    below = 1.0 - _placements(b, a)
    return Area(float(above.mean()), float(np.sqrt(above.var(ddof=1) / len(a) + below.var(ddof=1) / len(b))))


def _placements(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The fraction [m] of the values `b` [n] that are below each value of `a` [m], with ties counted half."""
    ordered = np.sort(b)
    return (np.searchsorted(ordered, a, "left") + np.searchsorted(ordered, a, "right")) / (2 * len(b))
