"""Power against published values and integrals, and round trips."""

import numpy as np
import pytest
from scipy import stats

from diffenc_jax.lab.stats.power import detectable_difference, power, seeds_needed


def test_power_is_that_of_gpower():
    """As G*Power 3.1 gives them for dz = 0.5, and for five pairs."""
    assert seeds_needed(0.5, 1) == 34
    assert detectable_difference(1, 5) == pytest.approx(1.68, abs=0.005)
    # No difference is found at the rate of false rejections.
    assert power(0, 1, 5, alpha=0.03) == pytest.approx(0.03)


def test_both_tails_count():
    """The wrong tail of noncentral t, by integrating over the standard deviation that is estimated."""
    chi = np.linspace(0, 12, 400_001)
    rejected = stats.norm.cdf(-stats.t.isf(0.025, 2) * chi / np.sqrt(2) - 0.2 * np.sqrt(3))
    wrong = np.trapezoid(rejected * stats.chi.pdf(chi, 2), chi)
    right = stats.nct.sf(stats.t.isf(0.025, 2), 2, 0.2 * np.sqrt(3))
    assert power(0.2, 1, 3) == pytest.approx(right + wrong, rel=1e-7)
    assert wrong > 0.01


@pytest.mark.parametrize(("seeds", "wanted"), [(2, 0.1), (3, 0.8), (40, 0.999)])
def test_the_detectable_difference_has_the_power_and_the_seeds_asked_for(seeds, wanted):
    difference = detectable_difference(0.01, seeds, wanted)
    assert power(difference, 0.01, seeds) == pytest.approx(wanted)
    assert seeds_needed(difference * 1.0001, 0.01, wanted) == seeds
    assert seeds_needed(difference * 0.9999, 0.01, wanted) == seeds + 1


def test_tiny_and_huge_effects():
    z = stats.norm.isf([0.025, 0.2]).sum()
    assert seeds_needed(1e-6, 1) == pytest.approx((z / 1e-6) ** 2, rel=1e-5)
    assert seeds_needed(-100, 1) == 2
    # With a single degree of freedom and far out, where the tails of noncentral t are delicate.
    assert power(16, np.sqrt(2), 2) == pytest.approx(0.79065, abs=1e-5)
    assert power(1e4, 1, 2) == 1


def test_power_without_spread_difference_or_pairs_is_refused():
    for call, arguments in (
        (seeds_needed, (0, 1)),
        (seeds_needed, (np.nan, 1)),
        (power, (1, 0, 5)),
        (power, (1, 1, 1)),
    ):
        with pytest.raises(ValueError, match=r"difference of 0|no power for"):
            call(*arguments)
