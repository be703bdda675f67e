"""Comparison of two sets of values: the area under the ROC curve."""

from typing import NamedTuple

import numpy as np
import scipy


class Area(NamedTuple):
    """Area under a ROC curve, and its standard error; None where one of the two sets is a single value."""

    area: float
    standard_error: float | None


def auroc(a: np.ndarray, b: np.ndarray) -> Area:
    """Area under the ROC curve of scores, of `a` [m] as positives against `b` [n] as negatives.

    The probability that a random score of a is larger than one of b, with ties counted half. The standard error is
    DeLong's (1988), with V_i the fraction of b below a_i, and W_j that of a below b_j, from ranks:

      error² = var_i(V_i) / m + var_j(W_j) / n.

    It is 0 for sets that do not overlap, where it says nothing about the area of other samples.
    """
    m, n = len(a), len(b)
    ranks = scipy.stats.rankdata(np.concatenate([a, b]))
    v, w = (ranks[:m] - scipy.stats.rankdata(a)) / n, (ranks[m:] - scipy.stats.rankdata(b)) / m
    error = float(np.sqrt(v.var(ddof=1) / m + w.var(ddof=1) / n)) if min(m, n) > 1 else None
    return Area(float(v.mean()), error)
