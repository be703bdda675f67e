"""Means of values that have no interval; the significance tests compare intervals with scipy's."""

import math

import numpy as np
import pytest

from diffenc_jax.lab.stats.means import Mean, mean_of


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_infinite_values_determine_no_interval():
    assert mean_of(np.array([1.0, math.inf])) == Mean(n=2, mean=math.inf)
    assert math.isnan(mean_of(np.array([-math.inf, math.inf])).mean)
