"""Comparison of two sets of points: a rank test, the area under the ROC curve, and distances of distributions."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from diffenc_jax.lab.stats.hypotheses import Outcome

# Number of points whose distances to all others are held in memory at once.
CHUNK = 1000


class Area(NamedTuple):
    """Area under a ROC curve, and its standard error; None where one of the two sets is a single value."""

    area: float
    standard_error: float | None


class Overlap(NamedTuple):
    """Overlap of samples with data (Naeem et al., arXiv 2002.09797), from balls that reach from each data point to its
    k-th nearest other data point.

    Attributes:
      density: mean number of balls that contain a sample, divided by k; its expectation is 1 for the true distribution.
      coverage: fraction of the balls that contain a sample; expected 1 − 2^−k for as many samples as data.
    """

    density: float
    coverage: float


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


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance between the normal distributions with the moments of `a` [m, d] and `b` [n, d].

      ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½)              (Dowson and Landau 1982)

    The last trace is the sum of the singular values of Σ_a^½ Σ_b^½. The estimate is biased upwards for few points, so
    only distances between equal numbers of points can be compared.
    """
    (mean_a, root_a), (mean_b, root_b) = _moments(a), _moments(b)
    spread = np.sum(root_a**2) + np.sum(root_b**2) - 2 * np.linalg.norm(root_a @ root_b, "nuc")
    return float(np.sum((mean_a - mean_b) ** 2) + max(spread, 0.0))


def farther(
    a: np.ndarray,
    b: np.ndarray,
    reference: np.ndarray,
    distance: Callable[[np.ndarray, np.ndarray], float],
    resamples: int = 99,
    seed: int = 0,
) -> float:
    """p value for `a` lying farther from `reference` than `b`, as many points [n, d], if both have one distribution.

    The statistic is distance(a, reference) − distance(b, reference), and p the fraction of random partitions of the
    points, including the given one, in which it is as large (Phipson and Smyth, arXiv 1603.05766).
    """
    rng = np.random.default_rng(seed)
    points, n = np.concatenate([a, b]), len(a)

    def excess(order):
        return distance(points[order[:n]], reference) - distance(points[order[n:]], reference)

    given = excess(np.arange(2 * n))
    as_large = sum(excess(rng.permutation(2 * n)) >= given for _ in range(resamples))
    return float((as_large + 1) / (resamples + 1))


def overlap(samples: np.ndarray, data: np.ndarray, k: int = 5) -> Overlap:
    """Overlap of `samples` [m, d] with `data` [n, d], n > k.

    Precision and recall (arXiv 1904.06991) count the samples that lie in any ball, and a single outlier among the
    data, whose ball is large, distorts them. Density and coverage are robust against it.
    """
    radii = np.concatenate([np.partition(distances, k, axis=1)[:, k] for distances in _distances(data, data)])
    around, covered = 0, np.zeros(len(data), bool)
    for distances in _distances(samples, data):
        inside = distances <= radii
        around += int(np.count_nonzero(inside))
        covered |= inside.any(axis=0)
    return Overlap(around / (k * len(samples)), float(covered.mean()))


def _placements(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The fraction [m] of the values `b` [n] that are below each value of `a` [m], with ties counted half."""
    ordered = np.sort(b)
    return (np.searchsorted(ordered, a, "left") + np.searchsorted(ordered, a, "right")) / (2 * len(b))


def _distances(a: np.ndarray, b: np.ndarray):
    """Distances between `a` [m, d] and `b` [n, d], in chunks [.., n]."""
    return (scipy.spatial.distance.cdist(a[start : start + CHUNK], b) for start in range(0, len(a), CHUNK))


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d] of points [n, d], and the symmetric root [d, d] of their covariance."""
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(x, rowvar=False)))
    return x.mean(axis=0, dtype=np.float64), (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
