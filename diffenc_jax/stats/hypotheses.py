"""Tests of whether two arms differ in the mean, of a value for each training seed.

Two arms that were trained under the same seeds share the order of the data, times and noise. Where that
makes their values go up and down together, the paired tests see a difference that Welch's does not.
With few seeds the sign-flip test cannot reject, whatever the values: its smallest two-sided p is 2/2^n, 1/16 of five.

Values that do not vary, but for rounding, leave a t test without a unit to measure their difference in. It then
rejects nothing: statistic 0 and p 1, however far the arms lie apart. Runs that all came out the same
are more likely one run looked at n times, or figures too much rounded, than a certainty.
"""

from typing import NamedTuple

import numpy as np
import scipy

# Differences below this part of the largest value are those of rounding in float64.
ROUNDING = 1e-12
# Up to 16 seeds have fewer ways to flip signs than this, and are then gone through one by one.
RANDOM_FLIPS = 99_999


class Outcome(NamedTuple):
    """Of a test of arm a against arm b; floats, or arrays where many experiments were tested at once.

    A one-sided p counts only where its direction was fixed before the values were seen. Taking
    the smaller of the two afterwards rejects twice as often as it says.

    Attributes:
      name: of the test.
      statistic: above 0 where the mean of a is the larger.
      df: degrees of freedom; None where there are none.
      p_two_sided: against the means being equal, in either direction.
      p_one_sided_less: the alternative is that the mean of a lies below that of b.
      p_one_sided_greater: the alternative is that it lies above.
    """

    name: str
    statistic: float | np.ndarray
    df: float | np.ndarray | None
    p_two_sided: float | np.ndarray
    p_one_sided_less: float | np.ndarray
    p_one_sided_greater: float | np.ndarray


def welch_t(a: np.ndarray, b: np.ndarray) -> Outcome:
    """Welch's test of `a` [..., n_a] against `b` [..., n_b], which need not vary alike (Welch 1947).

      t  = (ā − b̄)/√(e_a² + e_b²)                                  e² = var/n, var with n − 1
      df = (e_a² + e_b²)²/(e_a⁴/(n_a − 1) + e_b⁴/(n_b − 1))

    Arms of the same seeds may be tested so too. Where they go up and down together it rejects too rarely.

    Raises:
      ValueError: an arm has fewer than two values.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    _refuse_single(a.shape[-1], b.shape[-1])
    varies = _varies(a, _largest(a)) | _varies(b, _largest(b))
    squares = (x.var(axis=-1, ddof=1) / x.shape[-1] for x in (a, b))
    return _welch(a.mean(axis=-1) - b.mean(axis=-1), *squares, a.shape[-1], b.shape[-1], varies)


def welch_from_summary(mean_a: float, se_a: float, n_a: int, mean_b: float, se_b: float, n_b: int) -> Outcome:
    """`welch_t` from published means and their standard *errors*, the deviations over √n, of n values each.

    Raises:
      ValueError: a standard error is not above 0, or an arm has fewer than two values.
    """
    if not (se_a > 0 and se_b > 0):
        raise ValueError(f"standard errors lie above 0, not {se_a} and {se_b}")
    _refuse_single(n_a, n_b)
    return _welch(mean_a - mean_b, se_a**2, se_b**2, n_a, n_b, varies=True)


def paired_t(a: np.ndarray, b: np.ndarray) -> Outcome:
    """The t test of the differences of `a` [..., n] and `b` [..., n], value by value, with n − 1 degrees of freedom.

    Raises:
      ValueError: there are fewer than two pairs, or not as many values in one arm as in the other.
    """
    differences = _differences(a, b)
    n = differences.shape[-1]
    varies = _varies(differences, np.maximum(_largest(a), _largest(b)))
    square = differences.var(axis=-1, ddof=1) / n
    return _t_outcome("paired t", differences.mean(axis=-1), square, np.full(square.shape, n - 1.0), varies)


def sign_flip(a: np.ndarray, b: np.ndarray) -> Outcome:
    """The permutation test of the differences of `a` [..., n] and `b` [..., n]: were there none, each might be negated.

    The statistic is the mean difference; p is the part of all 2^n ways to flip signs, the given one among them,
    that are as extreme. It is exact whatever the distribution, as long as a difference and its negative are as
    likely if the arms are alike. The two-sided p is twice the smaller one-sided p, at most 1. From n = 17 on, 99,999
    flips are drawn, always the same, and the given one is added to them, so that false rejections are still
    no more than the level (Phipson and Smyth, arXiv 1603.05766); the name says so.

    Raises:
      ValueError: there are fewer than two pairs, or not as many values in one arm as in the other.
    """
    differences = _differences(a, b)
    result = scipy.stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RANDOM_FLIPS,
        axis=-1,
        rng=np.random.default_rng(0),
    )
    flipped = result.null_distribution
    # Ties in exact arithmetic are ties: the differences carry the rounding of the values they were taken of.
    rounding = ROUNDING * np.maximum(_largest(a), _largest(b))
    less = np.count_nonzero(flipped <= result.statistic + rounding, axis=0)
    greater = np.count_nonzero(flipped >= result.statistic - rounding, axis=0)
    exact = 2 ** differences.shape[-1] <= RANDOM_FLIPS
    added = 0 if exact else 1
    less, greater = ((count + added) / (len(flipped) + added) for count in (less, greater))
    name = "exact sign-flip permutation" if exact else f"sign-flip permutation, {RANDOM_FLIPS:,} random"
    both = np.minimum(2 * np.minimum(less, greater), 1)
    return Outcome(name, _plain(result.statistic), None, _plain(both), _plain(less), _plain(greater))


def holm(p_values: np.ndarray) -> np.ndarray:
    """The p values [..., m] of m tests, adjusted for their number, in the order given (Holm 1979).

    With p_(1) ≤ … ≤ p_(m), the adjusted p_(k) is max_{j ≤ k} (m − j + 1) p_(j), at most 1. Rejecting where it lies
    below 5 % rejects any true hypothesis at most 5 % of the time, however the tests depend on each other.

    Raises:
      ValueError: a p value does not lie in [0, 1], or is nan: a test that could not be done does not count in m.
    """
    p_values = np.asarray(p_values, dtype=float)
    if not np.all((p_values >= 0) & (p_values <= 1)):
        raise ValueError(f"p values lie in [0, 1], unlike some of {p_values.tolist()}")
    m = p_values.shape[-1]
    order = p_values.argsort(axis=-1)
    steps = np.take_along_axis(p_values, order, axis=-1) * (m - np.arange(m))
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1), axis=-1)
    return adjusted


def _welch(difference, square_a, square_b, n_a, n_b, varies) -> Outcome:
    """From squared standard errors; see `welch_t`."""
    square = square_a + square_b
    with np.errstate(invalid="ignore", divide="ignore"):  # where nothing varies
        df = square**2 / (square_a**2 / (n_a - 1) + square_b**2 / (n_b - 1))
    # Their number's lower bound stands in where they cannot be estimated.
    return _t_outcome("Welch t", difference, square, np.where(varies, df, min(n_a, n_b) - 1.0), varies)


def _t_outcome(name, difference, square, df, varies) -> Outcome:
    """From the squared standard error of a difference; `varies` is False where it is but that of rounding."""
    t = np.where(varies, difference, 0) / np.sqrt(np.where(varies, square, 1))
    both = 2 * scipy.stats.t.sf(np.abs(t), df)
    less, greater = (np.where(varies, p, 1) for p in (scipy.stats.t.cdf(t, df), scipy.stats.t.sf(t, df)))
    return Outcome(name, *map(_plain, (t, df, both, less, greater)))


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    n_a, n_b = np.shape(a)[-1], np.shape(b)[-1]
    if n_a != n_b:
        raise ValueError(f"{n_a} and {n_b} values cannot be paired; each seed has one in both arms")
    _refuse_single(n_a)
    return np.subtract(a, b, dtype=float)


def _refuse_single(*counts: int) -> None:
    if min(counts) < 2:
        raise ValueError(f"a test needs at least two seeds in an arm, not {min(counts)}")


def _largest(x: np.ndarray) -> np.ndarray:
    return np.abs(x).max(axis=-1)


def _varies(x: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Whether values [..., n], obtained from some as large as `largest`, differ by more than rounding."""
    return np.ptp(x, axis=-1) > ROUNDING * largest


def _plain(x: np.ndarray) -> float | np.ndarray:
    """A scalar as Python's float, which prints as a number."""
    return float(x) if np.ndim(x) == 0 else x
