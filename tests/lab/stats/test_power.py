"""Power against published values, round trips, and simulated tests that reject as often as was promised."""

import numpy as np
import pytest
from scipy import stats

from diffenc_jax.lab.stats.hypotheses import paired_t, welch_t
from diffenc_jax.lab.stats.power import Design

PAIRED, WELCH = Design("paired"), Design("welch")
each_design = pytest.mark.parametrize("design", [PAIRED, WELCH], ids=str)


@pytest.mark.parametrize(("d", "group"), [(0.2, 393), (0.5, 64), (0.8, 26)])
def test_cohens_table_of_two_groups(d, group):
    """Cohen 1992, A power primer, table 2: small, medium and large effects at power 0.8, alpha 0.05; exact to 1."""
    assert WELCH.seeds_needed(d, 1) == pytest.approx(group, abs=1)


def test_published_paired_values():
    """As G*Power 3.1 gives them for dz = 0.5, and for five pairs."""
    assert PAIRED.seeds_needed(0.5, 1) == 34
    assert PAIRED.detectable_difference(1, 5) == pytest.approx(1.68, abs=0.005)


def test_no_difference_is_found_at_the_rate_of_false_rejections():
    assert Design("paired", 0.03).power(0, 1, 5) == pytest.approx(0.03)
    # Welch's test keeps below its level with few seeds, and reaches it with many.
    rates = [Design("welch", 0.03).power(0, 1, seeds) for seeds in (3, 5, 10, 1000)]
    assert np.all(np.diff(rates) > 0)
    assert rates[0] < 0.025
    assert rates[-1] == pytest.approx(0.03, rel=1e-4)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_welchs_degrees_of_freedom_are_accounted_for(seeds):
    """Two degrees of freedom per seed but two, as if the arms were known to vary alike, would promise more."""
    difference = 1.5
    b, a = np.random.default_rng(1).normal(size=(2, 200_000, seeds))
    rate = np.mean(welch_t(a + difference, b).p_two_sided <= 0.05)
    assert WELCH.power(difference, 1, seeds) == pytest.approx(rate, abs=0.003)
    df, delta = 2 * seeds - 2, difference * np.sqrt(seeds / 2)
    assert stats.nct.sf(stats.t.isf(0.025, df), df, delta) > rate + 0.02


def test_both_tails_count():
    """The wrong tail of noncentral t, by integrating over the standard deviation that is estimated."""
    chi = np.linspace(0, 12, 400_001)
    rejected = stats.norm.cdf(-stats.t.isf(0.025, 2) * chi / np.sqrt(2) - 0.2 * np.sqrt(3))
    wrong = np.trapezoid(rejected * stats.chi.pdf(chi, 2), chi)
    right = stats.nct.sf(stats.t.isf(0.025, 2), 2, 0.2 * np.sqrt(3))
    assert PAIRED.power(0.2, 1, 3) == pytest.approx(right + wrong, rel=1e-7)
    assert wrong > 0.01


@pytest.mark.parametrize("seeds", [2, 3, 5, 40])
@pytest.mark.parametrize("wanted", [0.1, 0.8, 0.999])
@each_design
def test_round_trips(seeds, wanted, design):
    difference = design.detectable_difference(0.01, seeds, wanted)
    assert design.power(difference, 0.01, seeds) == pytest.approx(wanted)
    assert design.seeds_needed(difference * 1.0001, 0.01, wanted) == seeds
    assert design.seeds_needed(difference * 0.9999, 0.01, wanted) == seeds + 1


def test_tiny_and_huge_effects():
    z = stats.norm.isf([0.025, 0.2]).sum()
    assert PAIRED.seeds_needed(1e-6, 1) == pytest.approx((z / 1e-6) ** 2, rel=1e-5)
    assert PAIRED.seeds_needed(-100, 1) == 2
    # With a single degree of freedom and far out, where the tails of noncentral t are delicate.
    assert PAIRED.power(16, np.sqrt(2), 2) == pytest.approx(0.79065, abs=1e-5)
    assert PAIRED.power(1e4, 1, 2) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PAIRED.seeds_needed(0, 1), "difference of 0"),
        (lambda: PAIRED.seeds_needed(1, 1, power=1), "power lies between alpha, 0.05, and 1, unlike 1"),
        (lambda: PAIRED.seeds_needed(1, 0), "sd above 0"),
        (lambda: PAIRED.seeds_needed(np.nan, 1), "finite"),
        (lambda: PAIRED.power(1, 1, 1), "at least 2 seeds"),
        (lambda: PAIRED.detectable_difference(1, 5, power=0.04), "unlike 0.04"),
        (lambda: Design(alpha=5), "alpha lies between 0 and 1"),
        (lambda: Design("crossed"), "known: paired, welch"),
    ],
)
def test_impossible_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def rejections(design, difference, sd, seeds):
    """The rate in 10,000 simulated experiments at 5 %."""
    a, b = np.random.default_rng(0).normal(size=(2, 10_000, seeds))
    if design.kind == "paired":
        got = paired_t(difference + sd * a + b, b)
    else:
        got = welch_t(difference + sd * a, sd * b)
    return np.mean(got.p_two_sided <= 0.05)


@each_design
def test_the_power_promised_is_met(design):
    difference = design.detectable_difference(0.01, 5)
    assert rejections(design, difference, 0.01, 5) == pytest.approx(0.8, abs=0.02)
    seeds = design.seeds_needed(0.01, 0.01)
    expected = design.power(0.01, 0.01, seeds)
    assert expected >= 0.8
    assert rejections(design, 0.01, 0.01, seeds) == pytest.approx(expected, abs=0.02)
