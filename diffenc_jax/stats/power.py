"""Power of the t tests over training seeds: what a number of seeds can show, and how many seeds a difference needs.

The power is that of the tests of `hypotheses` on normal values. With T_{df, δ} noncentral t (Cohen, Statistical Power
Analysis for the Behavioral Sciences, 1988, chapter 2) and d the difference divided by its `sd`,

  one-sided  P(T_{df, δ} > t_{1−α, df})       in the direction of the difference
  two-sided  P(|T_{df, δ}| > t_{1−α/2, df})   both tails

  "paired"   n seeds common to both arms, `sd` that of a seed's difference: δ = d √n, df = n − 1
  "welch"    n seeds in each arm, `sd` that of a run in its arm, equal in both: δ = d √(n/2), df = 2n − 2

Welch's test does not know that the variances are equal. Its critical value comes from estimated degrees of freedom,
for which `_welch_tail` accounts: with five seeds its power is 2 points below the usual formula.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from diffenc_jax.core.errors import lookup

MIN_SEEDS = 2
# Quantiles at which the distribution of the arms' variances is averaged over.
NODES = (np.arange(100) + 0.5) / 100
# Signs of δ. The lower tail is the upper one at −δ, where scipy's noncentral cdf is nan far out and its sf is not.
SIDES = {"two-sided": (1, -1), "one-sided": (1,)}


def _paired_tail(effect: float, seeds: int, alpha: float) -> float:
    """P(T_{df, δ} > t_{1−α, df}) for differences with mean `effect` and variance 1."""
    df = seeds - 1
    return float(scipy.stats.nct.sf(scipy.stats.t.isf(alpha, df), df, effect * math.sqrt(seeds)))


def _welch_tail(effect: float, seeds: int, alpha: float) -> float:
    """Upper tail for two arms of variance 1 at the critical value of Welch's test.

    Let b be the share of one arm in the sum of both estimated variances. Welch's df = (n − 1)/(b² + (1 − b)²) depends
    on the values through b alone, which is Beta((n − 1)/2, (n − 1)/2) and independent of T_{2n−2, δ}. So the
    probability is the mean over b of P(T_{2n−2, δ} > t_{1−α, df(b)}).
    """
    share = scipy.stats.beta.ppf(NODES, (seeds - 1) / 2, (seeds - 1) / 2)
    critical = scipy.stats.t.isf(alpha, (seeds - 1) / (share**2 + (1 - share) ** 2))
    return float(scipy.stats.nct.sf(critical, 2 * seeds - 2, effect * math.sqrt(seeds / 2)).mean())


TAILS: dict[str, Callable[[float, int, float], float]] = {"paired": _paired_tail, "welch": _welch_tail}


@dataclass(frozen=True)
class Design:
    """A test of two arms over seeds.

    Attributes:
      kind: "paired" or "welch".
      alternative: "two-sided", or "one-sided" in a direction that is fixed in advance.
      alpha: rate of false rejections.

    Raises:
      ValueError: an attribute has none of these values.
    """

    kind: str = "paired"
    alternative: str = "two-sided"
    alpha: float = 0.05

    def __post_init__(self):
        lookup("design", self.kind, TAILS)
        lookup("alternative", self.alternative, SIDES)
        _require_probability("alpha", self.alpha)

    def power(self, difference: float, sd: float, seeds: int) -> float:
        """Probability that `seeds` seeds, in both arms or in each, reject if the arms differ by `difference`.

        Args:
          difference: difference of the means, in the unit of `sd`; its sign does not matter.
          sd: standard deviation of a seed's difference ("paired") or of a run in its arm ("welch").
          seeds: at least 2.

        Raises:
          ValueError: an argument lies outside these.
        """
        if not (math.isfinite(difference) and 0 < sd < math.inf):
            raise ValueError(f"the difference is finite and sd above 0, unlike {difference} and {sd}")
        if seeds < MIN_SEEDS:
            raise ValueError(f"a test needs at least {MIN_SEEDS} seeds per arm, not {seeds}")
        effect, signs = abs(difference) / sd, SIDES[self.alternative]
        return sum(TAILS[self.kind](sign * effect, seeds, self.alpha / len(signs)) for sign in signs)

    def detectable_difference(self, sd: float, seeds: int, power: float = 0.8) -> float:
        """Difference above 0 that `seeds` seeds show with probability `power`, in the unit of `sd`.

        Raises:
          ValueError: as for `power`, or `power` does not lie between alpha and 1.
        """
        self._require_attainable(power)
        upper = sd
        while self.power(upper, sd, seeds) < power:
            upper *= 2
        excess = lambda difference: self.power(difference, sd, seeds) - power  # noqa: E731
        return float(scipy.optimize.brentq(excess, 0.0, upper, xtol=1e-12 * sd))

    def seeds_needed(self, difference: float, sd: float, power: float = 0.8) -> int:
        """Smallest number of seeds, in both arms or in each, that shows `difference` with probability `power`.

        Raises:
          ValueError: as for `detectable_difference`, or the difference is 0, which no number of seeds shows.
        """
        self._require_attainable(power)
        if difference == 0:
            raise ValueError("a difference of 0 is not detected by any number of seeds; give one above 0")
        upper = MIN_SEEDS
        while self.power(difference, sd, upper) < power:
            upper *= 2
        suffices = lambda seeds: self.power(difference, sd, seeds) >= power  # noqa: E731
        return bisect_left(range(upper), True, lo=MIN_SEEDS, key=suffices)

    def _require_attainable(self, power: float) -> None:
        _require_probability("power", power)
        if power <= self.alpha:
            raise ValueError(
                f"a power of {power} is reached without any difference at alpha {self.alpha}; ask for more"
            )


def _require_probability(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} lies between 0 and 1, unlike {value}")
