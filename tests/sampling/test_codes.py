"""Samples of a model with a latent code: the code is drawn from its prior, or is that of a given image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.data.images import Batch
from diffenc_jax.sampling.draw import Drawer, SamplerFunctions
from diffenc_jax.sampling.samplers import Request, make_sampler
from tests.evaluation.gaussian import DEVIATION, LEVELS, SHAPE
from tests.evaluation.gaussian_classes import MEANS, coded_experiment

NOTHING = lambda share: None  # noqa: E731


def drawer(**changes):
    chosen, params = coded_experiment(sample__depth=60, **changes)
    return Drawer(SamplerFunctions(chosen, make_sampler(chosen)), params)


@pytest.mark.slow
def test_samples_are_those_of_all_codes_equally():
    """The mean and the variance are those of the mixture; an image does not depend on the others."""
    images = drawer().images(0, 1200, NOTHING).images
    means = ((2 * images.astype(np.float64) + 1) / LEVELS - 1).mean(axis=(1, 2, 3))
    variance = MEANS.var() + DEVIATION**2 / np.prod(SHAPE)
    assert abs(means.mean() - MEANS.mean()) < 4 * np.sqrt(variance / len(means))
    assert abs(means.var() / variance - 1) < 0.2
    np.testing.assert_array_equal(drawer().images(7, 3, NOTHING).images, images[7:10])


@pytest.mark.slow
def test_the_likelihood_of_a_sample_has_the_cost_of_its_code():
    """Another code for the same path: the flow of the class, -log p(z_0, c) = -log p(z_0 | c) + ln 4."""
    settings = {"sample__sampler": "flow", "sample__likelihood": True, "ode__rtol": 1e-5, "ode__atol": 1e-5}
    chosen, params = coded_experiment(**settings, ode__divergence="exact")
    z_1, keys = jnp.zeros((8, *SHAPE)), jax.random.split(jax.random.key(0), 8)
    codes = jnp.eye(len(MEANS))[jnp.arange(8) % len(MEANS)]
    ((z_0, _, likelihood),) = make_sampler(chosen).walk(params, None, Request(keys, code=codes), z_1)
    gamma_0, gamma_1 = (1 / (1 + np.exp(-np.asarray(end))) for end in chosen.model.bind(params).endpoints)
    d_0, d_1 = (np.sqrt(DEVIATION**2 * (1 - variance) + variance) for variance in (gamma_0, gamma_1))
    mean = MEANS[np.arange(8) % len(MEANS)]
    expected = np.sqrt(1 - gamma_0) * mean - np.sqrt(1 - gamma_1) * mean * d_0 / d_1
    np.testing.assert_allclose(z_0, np.broadcast_to(expected[:, None, None, None], z_0.shape), rtol=2e-3, atol=1e-4)
    nats = np.prod(SHAPE) * (0.5 * np.log(2 * np.pi) + np.log(d_0 / d_1)) + np.log(len(MEANS))
    np.testing.assert_allclose(likelihood.nats, nats, atol=2e-3)


def test_a_reconstruction_has_the_code_of_its_image():
    """From z at the noise's end nothing but the code is left of an image."""
    pixels = np.full((300, *SHAPE), LEVELS // 2, np.uint8)
    pixels[::2] = int(0.3 * LEVELS)  # near the mean of the first class
    found = drawer(sample__reconstruct=(1.0,)).reconstruct(Batch(pixels), 1.0, NOTHING).images
    means = [((2 * found[start::2].astype(np.float64) + 1) / LEVELS - 1).mean() for start in (0, 1)]
    np.testing.assert_allclose(means, MEANS[:2], atol=4 * DEVIATION / np.sqrt(300))
