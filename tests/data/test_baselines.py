"""The trivial figures, by counting."""

import numpy as np
import pytest

from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd


def test_uniform():
    assert uniform_bpd(16) == 4.0


def test_histogram_by_hand():
    """Two pixels, three levels; pixel 0 saw (0, 0, 1), pixel 1 saw (2, 2, 2); one is added to every count."""
    train = np.array([[0, 2], [0, 2], [1, 2]], np.uint8).reshape(3, 1, 2, 1)
    test = np.array([[0, 0]], np.uint8).reshape(1, 1, 2, 1)
    expected = (-np.log2(3 / 6) - np.log2(1 / 6)) / 2
    assert histogram_bpd(train, test, 3) == pytest.approx(expected)


def test_histogram_learns_a_fixed_image():
    train = np.tile(np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1), (5000, 1, 1, 1))
    assert histogram_bpd(train, train[:10], 16) < 0.01
