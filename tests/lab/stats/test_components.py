"""Differences between runs, split: by hand, and under common noise."""

import math

import numpy as np
import pytest

from diffenc_jax.lab.stats.components import Components, components


def test_by_hand():
    # Means of the seeds 3 and 5; residuals ∓[[1.5, 1], [0, 1.5]], images' variances between two passes 9/8 and 1/8.
    values = np.array([[[1.0, 2.0], [3.0, 6.0]], [[4.0, 4.0], [3.0, 9.0]]])
    noise = 2 * (9 / 8 + 1 / 8) / 2 / 4
    assert components(values, 2) == pytest.approx((math.sqrt(2), math.sqrt(noise), math.sqrt(2 - noise)))


def test_what_cannot_be_told_is_none():
    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    assert components(values[:1], 2) is None
    between = components(values, 2).between
    assert components(values, None) == Components(between, None, None)
    assert between == pytest.approx(values.mean(axis=(1, 2)).std(ddof=1))
    values = np.zeros((2, 2, 3))  # a spread of noise leaves nothing for the seeds
    values[:, 1] = [[2, -1, -1], [-2, 1, 1]]
    got = components(values, 2)
    assert got.noise > got.between == 0
    assert got.seeds is None


def test_noise_that_all_runs_share_is_in_none_of_the_components():
    values, common = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    assert components(values + common[0], 2) == pytest.approx(components(values, 2))
