"""Means, significance tests and power against scipy's, published values and closed forms."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from diffenc_jax.lab.stats.hypotheses import holm, paired_t, sign_flip, welch_t
from diffenc_jax.lab.stats.means import Mean, mean_of
from diffenc_jax.lab.stats.power import detectable_difference, power, seeds_needed


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_infinite_values_determine_no_interval():
    assert mean_of(np.array([1.0, math.inf])) == Mean(n=2, mean=math.inf)
    assert math.isnan(mean_of(np.array([-math.inf, math.inf])).mean)


ALTERNATIVES = {"two-sided": "p_two_sided", "less": "p_one_sided_less", "greater": "p_one_sided_greater"}
A, B = np.random.default_rng(0).normal(size=(2, 6))


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_the_tests_are_scipys(alternative):
    flips = stats.permutation_test((A - B,), np.mean, permutation_type="samples", alternative=alternative)
    for test, b, expected in (
        (welch_t, 2 * B[:4] + 0.5, stats.ttest_ind(A, 2 * B[:4] + 0.5, equal_var=False, alternative=alternative)),
        (paired_t, B, stats.ttest_rel(A, B, alternative=alternative)),
        (sign_flip, B, flips),
    ):
        got = test(A, b)
        assert (got.statistic, got.df) == pytest.approx((expected.statistic, getattr(expected, "df", None)))
        assert getattr(got, ALTERNATIVES[alternative]) == pytest.approx(expected.pvalue)


@pytest.mark.filterwarnings("error")
def test_t_tests_without_variance_reject_nothing():
    """Rounding is no variance."""
    seeds = np.array([1.61, 2.64, 4.62, 0.66, 2.63])
    assert np.ptp(seeds + 0.02 - seeds) > 0
    for outcome in (paired_t(seeds + 0.02, seeds), welch_t(np.full(5, 2.7), np.full(5, 2.6))):
        assert astuple(outcome)[1:] == (0, 4, 1, 1, 1)
    assert welch_t(seeds, np.full(5, 2.6)).p_two_sided == pytest.approx(stats.ttest_1samp(seeds, 2.6).pvalue)


@pytest.mark.filterwarnings("error")
def test_sign_flips_by_hand():
    # The sums of ±1±1±2 reach 0 in both directions.
    outcome = sign_flip(np.array([1, 1, -2.0]), np.zeros(3))
    assert astuple(outcome)[1:] == pytest.approx((0, None, 1, 5 / 8, 5 / 8))
    # The sums of ±0.1±0.2±0.3±0.4 that reach 0 are ties, though the differences carry the seeds' rounding.
    seeds = np.array([1.61, 2.64, 4.62, 0.66])
    shifted = seeds + np.array([0.1, -0.2, -0.3, 0.4])
    assert np.sum(shifted - seeds) != 0
    assert astuple(sign_flip(shifted, seeds))[3:] == astuple(sign_flip(seeds, shifted))[3:] == (1, 9 / 16, 9 / 16)


def test_many_seeds_are_flipped_at_random():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.4, 1, size=17), rng.normal(size=17)
    got, exact = sign_flip(a, b), np.array([0.0])
    assert got == sign_flip(a, b)
    for difference in a - b:
        exact = np.concatenate([exact + difference, exact - difference])
    p = np.mean(exact >= np.sum(a - b) - 1e-9)
    assert got.p_one_sided_greater == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 99_999))
    # Where no other flip is as extreme, the given one still counts.
    assert sign_flip(np.arange(40) + 1, np.zeros(40)).p_one_sided_greater == 1e-5


def test_holm_by_hand():
    # Four tests: 4 x 0.01, 3 x 0.015, then 2 x 0.02 and 1 x 0.03, which may not fall below those before.
    assert holm(np.array([0.02, 0.01, 0.03, 0.015])) == pytest.approx([0.045, 0.04, 0.045, 0.045])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1, 1])
    for p in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="lie in"):
            holm(np.array([0.5, p]))


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
