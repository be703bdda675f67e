"""How far apart two sets of points are: a rank test, and distances between distributions."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from diffenc_jax.stats.hypotheses import Outcome

# Of points whose distances to all others are held at once.
CHUNK = 1000


class Overlap(NamedTuple):
    """Of samples with data (Naeem et al., arXiv 2002.09797), which lie around each as far as its k-th nearest other.

    Attributes:
      density: around how many of the data a sample lies, on average, over k; 1 is expected of a true distribution.
      coverage: the part of the data that have a sample around them; 1 − 2^−k of as many samples as data.
    """

    density: float
    coverage: float


def rank_sum(a: np.ndarray, b: np.ndarray) -> Outcome:
    """Mann and Whitney's test of whether values `a` [m] tend to be smaller or larger than `b` [n].

    U counts the pairs in which that of a is the larger, ties by half. The statistic is

      z = (U − mn/2)/√(mn (m + n + 1 − Σ_t (t³ − t)/((m + n)(m + n − 1)))/12)

    for t values in a tie, and p follows from its normal limit. All values equal: 0, and p 1.
    """
    m, n = len(a), len(b)
    ranks = scipy.stats.rankdata(np.concatenate([a, b]))
    variance = m * n * (m + n + 1) / 12 * scipy.stats.tiecorrect(ranks)
    excess = ranks[:m].sum() - m * (m + 1) / 2 - m * n / 2
    z = float(excess / np.sqrt(variance)) if variance > 0 else 0.0
    less, greater = (float(p(z)) if variance > 0 else 1.0 for p in (scipy.stats.norm.cdf, scipy.stats.norm.sf))
    return Outcome("Mann-Whitney", z, None, min(2 * less, 2 * greater, 1.0), less, greater)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """The squared Fréchet distance of the normal distributions with the moments of `a` [m, d] and `b` [n, d].

      ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½)              (Dowson and Landau 1982)

    The last trace is the sum of the singular values of Σ_a^½ Σ_b^½. Of few points it comes out too large, so that
    only distances of as many points can be compared.
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
    """p of `a` lying farther from `reference` than `b`, as many points [n, d], against both being of one distribution.

    The statistic is distance(a, reference) − distance(b, reference), and p the part of random ways to deal the points
    out anew in which it is as large, the given one among them (Phipson and Smyth, arXiv 1603.05766).
    """
    rng = np.random.default_rng(seed)
    points, n = np.concatenate([a, b]), len(a)

    def excess(order):
        return distance(points[order[:n]], reference) - distance(points[order[n:]], reference)

    given = excess(np.arange(2 * n))
    as_large = sum(excess(rng.permutation(2 * n)) >= given for _ in range(resamples))
    return float((as_large + 1) / (resamples + 1))


def overlap(samples: np.ndarray, data: np.ndarray, k: int = 5) -> Overlap:
    """Of `samples` [m, d] with `data` [n, d], n > k.

    Unlike precision and recall (arXiv 1904.06991), which count the samples that lie around any, they are not led
    astray by a single outlier among the data, around which there is room for much.
    """
    radii = np.concatenate([np.partition(distances, k, axis=1)[:, k] for distances in _distances(data, data)])
    around, covered = 0, np.zeros(len(data), bool)
    for distances in _distances(samples, data):
        inside = distances <= radii
        around += np.count_nonzero(inside)
        covered |= inside.any(axis=0)
    return Overlap(around / (k * len(samples)), float(covered.mean()))


def _distances(a: np.ndarray, b: np.ndarray):
    """Chunks [.., n] of the distances between `a` [m, d] and `b` [n, d]."""
    return (scipy.spatial.distance.cdist(a[start : start + CHUNK], b) for start in range(0, len(a), CHUNK))


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean [d] of points [n, d], and the symmetric root [d, d] of their covariance."""
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(x, rowvar=False)))
    return x.mean(axis=0, dtype=np.float64), (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
