"""benchmarks/anomalies.py: how images are shrunk, and the means over passes."""

import importlib
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def anomalies(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("anomalies")


def test_a_pixel_is_the_mean_of_its_square_in_the_levels_of_the_run(anomalies):
    """28x28 as 8x8: squares of 3x3 in the middle 24x24, each with 5 of 9 pixels white."""
    square = np.array([[255, 0, 255], [0, 255, 0], [255, 0, 255]], np.uint8)
    images = np.full((2, 28, 28, 1), 7, np.uint8)
    images[:, 2:26, 2:26, 0] = np.tile(square, (8, 8))
    shrunk = anomalies.shrunk(images, 8, 17)
    assert shrunk.shape == (2, 8, 8, 1)
    assert (shrunk == round(16 * 5 / 9)).all()
    assert (anomalies.shrunk(images[:, 2:26, 2:26], 24, 256) == images[:, 2:26, 2:26]).all()


def test_bits_are_means_over_the_first_passes(anomalies):
    nats = np.random.default_rng(0).normal(size=(4, 3))
    model = SimpleNamespace(spec=SimpleNamespace(dims=5))
    run = SimpleNamespace(
        model=model, params=None, terms=lambda params, images, seed: SimpleNamespace(total=nats[seed])
    )
    found = list(anomalies.bits_per_dim(run, np.zeros((3, 1)), [1, 4]))
    np.testing.assert_allclose(found, [nats[0] / 5 / math.log(2), nats.mean(axis=0) / 5 / math.log(2)])
