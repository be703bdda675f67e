"""Power of the t tests over training seeds: what a number of seeds can show, and how many seeds a difference needs.

The power is that of the two-sided tests of `hypotheses` on normal values. With T_{df, δ} noncentral t (Cohen,
Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 2) and d the difference divided by its `sd`, it is

  P(|T_{df, δ}| > t_{1−α/2, df})          δ = d √(n/m), df = m (n − 1)

  "paired"   m = 1: n seeds common to both arms, `sd` that of a seed's difference
  "welch"    m = 2: n seeds in each arm, `sd` that of a run in its arm, equal in both

Welch's test does not know that the variances are equal. Its critical value comes from estimated degrees of freedom,
for which `_critical` accounts: with five seeds its power is 2 points below the usual formula.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import scipy

from diffenc_jax.core.errors import lookup

# m: number of samples whose variance is estimated.
SAMPLES = {"paired": 1, "welch": 2}
MIN_SEEDS = 2
# Quantiles at which the distribution of the arms' variances is averaged over.
NODES = (np.arange(100) + 0.5) / 100


@dataclass(frozen=True)
class Design:
    """A two-sided test of two arms over seeds.

    Attributes:
      kind: "paired" or "welch".
      alpha: rate of false rejections.

    Raises:
      ValueError: an attribute has none of these values.
    """

    kind: str = "paired"
    alpha: float = 0.05

    def __post_init__(self):
        lookup("design", self.kind, SAMPLES)
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha lies between 0 and 1, unlike {self.alpha}")

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
        samples, critical = SAMPLES[self.kind], self._critical(seeds)
        df, delta = samples * (seeds - 1), difference / sd * math.sqrt(seeds / samples)
        # The lower tail is the upper one at −δ: scipy's noncentral cdf is nan far out, and its sf is not.
        return float(sum(scipy.stats.nct.sf(critical, df, sign * delta).mean() for sign in (1, -1)))

    def detectable_difference(self, sd: float, seeds: int, power: float = 0.8) -> float:
        """Difference above 0 that `seeds` seeds show with probability `power`, in the unit of `sd`.

        Raises ValueError as `power` does, or if `power` does not lie between alpha and 1.
        """
        self._require_attainable(power)
        upper = sd
        while self.power(upper, sd, seeds) < power:
            upper *= 2
        excess = lambda difference: self.power(difference, sd, seeds) - power  # noqa: E731
        return float(scipy.optimize.brentq(excess, 0.0, upper, xtol=1e-12 * sd))

    def seeds_needed(self, difference: float, sd: float, power: float = 0.8) -> int:
        """Smallest number of seeds, in both arms or in each, that shows `difference` with probability `power`.

        Raises ValueError as `detectable_difference` does, or for a difference of 0, which no number of seeds shows.
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
        if not self.alpha < power < 1:
            raise ValueError(f"the power lies between alpha, {self.alpha}, and 1, unlike {power}")

    def _critical(self, seeds: int) -> np.ndarray:
        """Critical values, over which the power is averaged.

        Let b be the share of one arm in the sum of both estimated variances. Welch's df = (n − 1)/(b² + (1 − b)²)
        depends on the values only through b, which is Beta((n − 1)/2, (n − 1)/2) and independent of T_{2n−2, δ}. So
        the power is the mean over b of P(|T_{2n−2, δ}| > t_{1−α/2, df(b)}). The paired test has b = 1.
        """
        share = np.ones(1)
        if self.kind == "welch":
            share = scipy.stats.beta.ppf(NODES, (seeds - 1) / 2, (seeds - 1) / 2)
        return scipy.stats.t.isf(self.alpha / 2, (seeds - 1) / (share**2 + (1 - share) ** 2))
