"""Power of the paired t test over training seeds: differences that n seeds can show, and seeds that a difference needs.

The test is the two-sided `hypotheses.paired_t` over n seeds that both arms have, for normal differences with standard
deviation `sd`. With T_{df, δ} noncentral t (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988,
chapter 2) the power is

  P(|T_{n−1, δ}| > t_{1−α/2, n−1})          δ = difference/sd · √n
"""

import math
from bisect import bisect_left

import scipy

ALPHA, POWER = 0.05, 0.8
MIN_SEEDS = 2


def power(difference: float, sd: float, seeds: int, alpha: float = ALPHA) -> float:
    """Probability that `seeds` seeds, at least 2, lead to rejection at the level `alpha` for a true `difference`.

    Args:
      difference: difference of the means, in the unit of `sd`; its sign does not matter.
      sd: standard deviation of a seed's difference.

    Raises:
      ValueError: an argument is out of its range.
    """
    if not (math.isfinite(difference) and 0 < sd < math.inf and seeds >= MIN_SEEDS and 0 < alpha < 1):
        raise ValueError(f"no power for difference={difference}, sd={sd}, seeds={seeds}, alpha={alpha}")
    df, delta = seeds - 1, difference / sd * math.sqrt(seeds)
    critical = scipy.stats.t.isf(alpha / 2, df)
    # The lower tail is the upper one at −δ: scipy's noncentral cdf is nan far out, and its sf is not.
    return float(sum(scipy.stats.nct.sf(critical, df, sign * delta) for sign in (1, -1)))


def detectable_difference(sd: float, seeds: int, probability: float = POWER) -> float:
    """Positive difference that `seeds` seeds show with this probability (above `ALPHA`), in the unit of `sd`."""
    upper = sd
    while power(upper, sd, seeds) < probability:
        upper *= 2
    return float(scipy.optimize.brentq(lambda d: power(d, sd, seeds) - probability, 0.0, upper, xtol=1e-12 * sd))


def seeds_needed(difference: float, sd: float, probability: float = POWER) -> int:
    """Smallest number of seeds that shows a `difference` other than 0 with this probability (above `ALPHA`)."""
    if difference == 0:
        raise ValueError("a difference of 0 is not detected by any number of seeds")
    upper = MIN_SEEDS
    while power(difference, sd, upper) < probability:
        upper *= 2
    return bisect_left(range(upper), probability, lo=MIN_SEEDS, key=lambda seeds: power(difference, sd, seeds))
