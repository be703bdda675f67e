"""Means with their intervals, by hand and beside scipy."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from diffenc_jax.lab.stats.means import Mean, interval_of_sum, mean_of


def test_the_mean_and_its_interval_by_hand():
    got = mean_of(np.array([1.0, 2.0, 6.0]))
    assert astuple(got)[:4] == pytest.approx((3, 3, math.sqrt(7), math.sqrt(7 / 3)))
    # t's quantile with two degrees of freedom is known in closed form.
    assert mean_of(np.array([2.5])) == Mean(n=1, mean=2.5)
    t = 0.95 * math.sqrt(2 / (1 - 0.95**2))
    assert got.interval == pytest.approx((3 - t * math.sqrt(7 / 3), 3 + t * math.sqrt(7 / 3)))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_infinite_values_determine_no_interval():
    assert mean_of(np.array([1.0, math.inf])) == Mean(n=2, mean=math.inf)
    assert math.isnan(mean_of(np.array([-math.inf, math.inf])).mean)


def test_the_interval_of_a_difference_is_welchs():
    a, b = np.array([2.61, 2.64, 2.62, 2.66, 2.63]), np.array([2.7, 2.65, 2.72])
    parts = [(x.std(ddof=1) / math.sqrt(len(x)), len(x) - 1) for x in (a, b)]
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert interval_of_sum(a.mean() - b.mean(), parts) == pytest.approx(tuple(expected))
