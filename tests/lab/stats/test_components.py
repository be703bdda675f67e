"""Differences between runs, split: by hand, and unbiased in simulated runs of known variances."""

import math

import numpy as np
import pytest

from diffenc_jax.lab.stats.components import Components, components

SEEDS, PASSES, IMAGES, REPEATS = 4, 4, 30, 800
SEED_SD, INTERACTION_SD, NOISE_SD = 0.03, 0.1, 0.3
NOISE = NOISE_SD**2 / PASSES / IMAGES
SEED = SEED_SD**2 + INTERACTION_SD**2 / IMAGES


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


@pytest.fixture(scope="module")
def runs():
    """Noise-free values [REPEATS, SEEDS, 1, IMAGES], and noise [REPEATS, SEEDS, PASSES, IMAGES]."""
    rng = np.random.default_rng(1)
    images = rng.normal(size=(REPEATS, 1, 1, IMAGES))
    seeds = SEED_SD * rng.normal(size=(REPEATS, SEEDS, 1, 1))
    interaction = INTERACTION_SD * rng.normal(size=(REPEATS, SEEDS, 1, IMAGES))
    return images + seeds + interaction, NOISE_SD * rng.normal(size=(REPEATS, SEEDS, PASSES, IMAGES))


@pytest.mark.parametrize("own", [0, 0.5, 1], ids=["common noise", "common in part", "independent noise"])
def test_the_squares_are_unbiased(runs, own):
    """Noise that all runs share is in none of it; the first repeat's noise stands in for it."""
    effects, noise = runs
    values = effects + (1 - own) * noise[0, 0] + own * noise
    between, noises, seeds = np.array([components(x, 2) for x in values], float).T ** 2
    for squares, expected in ((between, SEED + own**2 * NOISE), (noises, own**2 * NOISE), (between - noises, SEED)):
        assert squares.mean() == pytest.approx(expected, abs=1e-12 + 4 * squares.std() / math.sqrt(REPEATS))
    assert np.nan_to_num(seeds) == pytest.approx(np.maximum(between - noises, 0))
