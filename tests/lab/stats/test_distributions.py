"""The area under the ROC curve against scipy's test, and by hand."""

import numpy as np
import pytest
import scipy

from diffenc_jax.lab.stats.distributions import auroc


def test_the_area_is_that_of_scipys_test():
    a, b = np.random.RandomState(0).randint(0, 9, (2, 40))  # many ties
    assert auroc(a, b).area == pytest.approx(scipy.stats.mannwhitneyu(a, b).statistic / 40**2)
    assert auroc(b, a) == pytest.approx((1 - auroc(a, b).area, auroc(a, b).standard_error))


def test_auroc_by_hand():
    """The first value wins 4 of 2 x 3 pairs, and ties in one: placements 1, ½ and 1, ½, 3/4."""
    area, error = auroc(np.array([3.0, 1.0]), np.array([0.0, 2.0, 1.0]))
    assert area == pytest.approx(4.5 / 6)
    assert error == pytest.approx(np.sqrt(np.var([1, 0.5], ddof=1) / 2 + np.var([1, 0.5, 0.75], ddof=1) / 3))
    assert auroc(np.arange(5), 5 + np.arange(3)) == (0.0, 0.0)
    assert auroc(np.ones(3), np.ones(4)) == (0.5, 0.0)
    assert auroc(np.ones(1), np.zeros(4)) == (1.0, None)
