"""Distances of distributions against closed forms, and scipy's test."""

import numpy as np
import pytest
import scipy

from diffenc_jax.lab.stats.distributions import auroc, rank_sum


@pytest.mark.parametrize("highest", [1000, 4])  # few ties, many
def test_the_rank_test_is_scipys(highest):
    rng = np.random.RandomState(0)
    a, b = rng.randint(0, highest, 40), rng.randint(0, 1.2 * highest, 70)
    ours = rank_sum(a, b)
    for alternative, p in (("two-sided", 0), ("less", 1), ("greater", 2)):
        theirs = scipy.stats.mannwhitneyu(a, b, False, alternative, method="asymptotic")
        assert (ours.p_two_sided, ours.p_one_sided_less, ours.p_one_sided_greater)[p] == pytest.approx(theirs.pvalue)
    assert ours.statistic == pytest.approx(scipy.stats.norm.ppf(ours.p_one_sided_less))
    assert auroc(a, b).area == pytest.approx(scipy.stats.mannwhitneyu(a, b).statistic / (40 * 70))
    assert auroc(b, a) == pytest.approx((1 - auroc(a, b).area, auroc(a, b).standard_error))


def test_values_that_are_all_equal_reject_nothing():
    outcome = rank_sum(np.ones(5), np.ones(9))
    assert (outcome.statistic, outcome.p_two_sided, outcome.p_one_sided_less) == (0, 1, 1)


def test_auroc_by_hand():
    """The first value wins 4 of 2 x 3 pairs, and ties in one: placements 1, ½ and 1, ½, 3/4."""
    area, error = auroc(np.array([3.0, 1.0]), np.array([0.0, 2.0, 1.0]))
    assert area == pytest.approx(4.5 / 6)
    assert error == pytest.approx(np.sqrt(np.var([1, 0.5], ddof=1) / 2 + np.var([1, 0.5, 0.75], ddof=1) / 3))
    assert auroc(np.arange(5), 5 + np.arange(3)) == (0.0, 0.0)
    assert auroc(np.ones(3), np.ones(4)) == (0.5, 0.0)
    assert auroc(np.ones(1), np.zeros(4)) == (1.0, None)
