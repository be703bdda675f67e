"""Power against published values, round trips, and simulated tests that reject as often as was promised."""

import numpy as np
import pytest
from scipy import stats

from diffenc_jax.stats import detectable_difference, paired_t, power, seeds_needed, welch_t

DESIGNS, ALTERNATIVES = ("paired", "welch"), ("two-sided", "one-sided")
each_test = pytest.mark.parametrize(
    ("design", "alternative"), [(design, alternative) for design in DESIGNS for alternative in ALTERNATIVES]
)


@pytest.mark.parametrize(("d", "group"), [(0.2, 393), (0.5, 64), (0.8, 26)])
def test_cohens_table_of_two_groups(d, group):
    """Cohen 1992, A power primer, table 2: small, medium and large effects at power 0.8, alpha 0.05; exact to 1."""
    assert seeds_needed(d, 1, design="welch") == pytest.approx(group, abs=1)


def test_published_paired_values():
    """As G*Power 3.1 gives them for dz = 0.5, and for five pairs."""
    assert seeds_needed(0.5, 1) == 34
    assert seeds_needed(0.5, 1, alternative="one-sided") == 27
    assert detectable_difference(1, 5) == pytest.approx(1.68, abs=0.005)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_no_difference_is_found_at_the_rate_of_false_rejections(alternative):
    assert power(0, 1, 5, alpha=0.03, alternative=alternative) == pytest.approx(0.03)
    # Welch's test keeps below its level with few seeds, and reaches it with many.
    rates = [power(0, 1, seeds, alpha=0.03, alternative=alternative, design="welch") for seeds in (3, 5, 10, 1000)]
    assert np.all(np.diff(rates) > 0)
    assert rates[0] < 0.025
    assert rates[-1] == pytest.approx(0.03, rel=1e-4)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_welchs_degrees_of_freedom_are_accounted_for(seeds):
    """Two degrees of freedom per seed but two, as if the arms were known to vary alike, would promise more."""
    difference = 1.5
    b, a = np.random.default_rng(1).normal(size=(2, 200_000, seeds))
    rate = np.mean(welch_t(a + difference, b).p_two_sided <= 0.05)
    assert power(difference, 1, seeds, design="welch") == pytest.approx(rate, abs=0.003)
    df, delta = 2 * seeds - 2, difference * np.sqrt(seeds / 2)
    assert stats.nct.sf(stats.t.isf(0.025, df), df, delta) > rate + 0.02


def test_both_tails_count():
    """The wrong tail of noncentral t, by integrating over the standard deviation that is estimated."""
    chi = np.linspace(0, 12, 400_001)
    rejected = stats.norm.cdf(-stats.t.isf(0.025, 2) * chi / np.sqrt(2) - 0.2 * np.sqrt(3))
    wrong = np.trapezoid(rejected * stats.chi.pdf(chi, 2), chi)
    got = power(0.2, 1, 3) - power(0.2, 1, 3, alpha=0.025, alternative="one-sided")
    assert got == pytest.approx(wrong, rel=1e-6)
    assert got > 0.01


def test_only_the_difference_in_units_of_sd_counts_and_no_sign():
    for alternative in ALTERNATIVES:
        assert power(-0.02, 0.01, 5, alternative=alternative) == power(2, 1, 5, alternative=alternative)
    assert detectable_difference(0.01, 5) == pytest.approx(detectable_difference(1, 5) / 100)


@pytest.mark.parametrize("seeds", [2, 3, 5, 40])
@pytest.mark.parametrize("wanted", [0.1, 0.8, 0.999])
@each_test
def test_round_trips(seeds, wanted, design, alternative):
    options = dict(alternative=alternative, design=design)
    difference = detectable_difference(0.01, seeds, power=wanted, **options)
    assert power(difference, 0.01, seeds, **options) == pytest.approx(wanted)
    assert seeds_needed(difference * 1.0001, 0.01, power=wanted, **options) == seeds
    assert seeds_needed(difference * 0.9999, 0.01, power=wanted, **options) == seeds + 1


def test_tiny_and_huge_effects():
    z = stats.norm.isf([0.025, 0.2]).sum()
    assert seeds_needed(1e-6, 1) == pytest.approx((z / 1e-6) ** 2, rel=1e-5)
    assert seeds_needed(-100, 1) == 2
    # With a single degree of freedom and far out, where the tails of noncentral t are delicate.
    assert power(16, np.sqrt(2), 2) == pytest.approx(0.79065, abs=1e-5)
    assert power(1e4, 1, 2) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: seeds_needed(0, 1), "difference of 0"),
        (lambda: seeds_needed(1, 1, power=1), "power lies between 0 and 1"),
        (lambda: seeds_needed(1, 0), "sd above 0"),
        (lambda: seeds_needed(np.nan, 1), "finite"),
        (lambda: power(1, 1, 1), "at least 2 seeds"),
        (lambda: power(1, 1, 5, alpha=5), "alpha lies between 0 and 1"),
        (lambda: power(1, 1, 5, design="crossed"), "known: paired, welch"),
        (lambda: power(1, 1, 5, alternative="less"), "known: one-sided, two-sided"),
        (lambda: detectable_difference(1, 5, power=0.04), "without any difference"),
    ],
)
def test_impossible_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def rejections(difference, sd, seeds, alternative, design):
    """The rate in 10,000 simulated experiments at 5 %."""
    a, b = np.random.default_rng(0).normal(size=(2, 10_000, seeds))
    if design == "paired":
        got = paired_t(difference + sd * a + b, b)
    else:
        got = welch_t(difference + sd * a, sd * b)
    return np.mean((got.p_two_sided if alternative == "two-sided" else got.p_one_sided_greater) <= 0.05)


@each_test
def test_the_power_promised_is_met(design, alternative):
    options = dict(alternative=alternative, design=design)
    difference = detectable_difference(0.01, 5, **options)
    assert rejections(difference, 0.01, 5, **options) == pytest.approx(0.8, abs=0.02)
    seeds = seeds_needed(0.01, 0.01, **options)
    expected = power(0.01, 0.01, seeds, **options)
    assert expected >= 0.8
    assert rejections(0.01, 0.01, seeds, **options) == pytest.approx(expected, abs=0.02)
