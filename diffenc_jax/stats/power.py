"""How many training seeds it takes to see a difference between two arms, and what a number of them can see.

Power is that of the t tests of `hypotheses` on normal values: with T_{df, δ} noncentral t (Cohen, Statistical Power
Analysis for the Behavioral Sciences, 1988, chapter 2), and d the difference over `sd`,

  one-sided  P(T_{df, δ} > t_{1−α, df})       in the direction in which the difference lies
  two-sided  P(|T_{df, δ}| > t_{1−α/2, df})   both tails, the wrong one too

  "paired"   n seeds in both arms, `sd` that of a seed's difference: δ = d √n, df = n − 1
  "welch"    n seeds in each arm, `sd` that of a run in its arm, equal in both: δ = d √(n/2), df = 2n − 2

But Welch's test does not know that the arms vary alike. It takes its critical value at estimated degrees of freedom,
which `_welch_tail` accounts for: at five seeds it has 2 points less power than the usual formula says.
"""

import math
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import scipy

from diffenc_jax.errors import lookup

MIN_SEEDS = 2
# Quantiles over which a mean over the arms' variances is taken.
NODES = (np.arange(100) + 0.5) / 100
# Signs of δ: the lower tail is the upper one at −δ (and scipy's noncentral cdf is nan far out, where its sf is not).
SIDES = {"two-sided": (1, -1), "one-sided": (1,)}


def _paired_tail(effect: float, seeds: int, alpha: float) -> float:
    """P(T_{df, δ} > t_{1−α, df}) for differences with mean `effect` and variance 1."""
    df = seeds - 1
    return float(scipy.stats.nct.sf(scipy.stats.t.isf(alpha, df), df, effect * math.sqrt(seeds)))


def _welch_tail(effect: float, seeds: int, alpha: float) -> float:
    """The same for two arms of variance 1, at Welch's critical value.

    Let b be arm a's part of the sum of both estimated variances. Welch's df = (n − 1)/(b² + (1 − b)²) depends on the
    values through b alone, which is Beta((n − 1)/2, (n − 1)/2) and independent of T_{2n−2, δ}. So the
    probability is the mean over b of P(T_{2n−2, δ} > t_{1−α, df(b)}).
    """
    part = scipy.stats.beta.ppf(NODES, (seeds - 1) / 2, (seeds - 1) / 2)
    critical = scipy.stats.t.isf(alpha, (seeds - 1) / (part**2 + (1 - part) ** 2))
    return float(scipy.stats.nct.sf(critical, 2 * seeds - 2, effect * math.sqrt(seeds / 2)).mean())


DESIGNS: dict[str, Callable[[float, int, float], float]] = {"paired": _paired_tail, "welch": _welch_tail}


def power(
    difference: float,
    sd: float,
    seeds: int,
    alpha: float = 0.05,
    alternative: str = "two-sided",
    design: str = "paired",
) -> float:
    """The probability that a test at level `alpha` with `seeds` seeds rejects, if the arms differ by `difference`.

    Args:
      difference: of the arms' means, in the unit of `sd`; its sign does not matter.
      sd: of a seed's difference ("paired") or of a run in its arm ("welch").
      seeds: in both arms ("paired") or in each ("welch"), at least 2.
      alpha: the rate of false rejections.
      alternative: "two-sided" or "one-sided", the latter in a direction fixed beforehand.
      design: "paired" or "welch".

    Raises:
      ValueError: an argument lies outside these.
    """
    _refuse_unless_between_0_and_1("alpha", alpha)
    if not (math.isfinite(difference) and 0 < sd < math.inf):
        raise ValueError(f"the difference is finite and sd above 0, unlike {difference} and {sd}")
    if seeds < MIN_SEEDS:
        raise ValueError(f"a test needs at least {MIN_SEEDS} seeds in an arm, not {seeds}")
    tail, sides = lookup("design", design, DESIGNS), lookup("alternative", alternative, SIDES)
    effect = abs(difference) / sd
    return sum(tail(side * effect, seeds, alpha / len(sides)) for side in sides)


# The calculators' argument `power` hides the function's name.
_power = power


def detectable_difference(
    sd: float,
    seeds: int,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: str = "two-sided",
    design: str = "paired",
) -> float:
    """The difference that `seeds` seeds show with probability `power`, above 0, in the unit of `sd`; see `power`.

    Raises:
      ValueError: as for `power`; or the power asked for is not above alpha, which no difference has already.
    """
    _refuse_power(power, alpha)

    def excess(difference):
        return _power(difference, sd, seeds, alpha, alternative, design) - power

    upper = sd
    while excess(upper) < 0:
        upper *= 2
    return float(scipy.optimize.brentq(excess, 0.0, upper, xtol=1e-12 * sd))


def seeds_needed(
    difference: float,
    sd: float,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: str = "two-sided",
    design: str = "paired",
) -> int:
    """The fewest seeds (in both arms, or in each) that show `difference` with probability `power`; see `power`.

    Raises:
      ValueError: as for `detectable_difference`; or the difference is 0, which no number of seeds shows.
    """
    _refuse_power(power, alpha)
    if difference == 0:
        raise ValueError("a difference of 0 is not shown by any number of seeds; give one that would matter")

    def suffices(seeds):
        return _power(difference, sd, seeds, alpha, alternative, design) >= power

    upper = MIN_SEEDS
    while not suffices(upper):
        upper *= 2
    return bisect_left(range(upper), True, lo=MIN_SEEDS, key=suffices)


def _refuse_power(power: float, alpha: float) -> None:
    _refuse_unless_between_0_and_1("power", power)
    if power <= alpha:
        raise ValueError(f"a power of {power} is had without any difference at alpha {alpha}; ask for more")


def _refuse_unless_between_0_and_1(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} lies between 0 and 1, unlike {value}")
