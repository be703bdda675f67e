"""Importance weights in float32 and by hand; that they average to the likelihood is in test_tiny_worlds.py."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.importance_weights import effective_draws, importance_bound, log_weight
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.steps import Steps
from tests.diffusion.formulas import exact_velocity, in_both_precisions, process_of


def test_images_with_the_pixel_decoder_keep_their_digits_in_float32():
    """Two dimensions of pixels, float32 against float64 under the same noise."""
    pixels = np.asarray([[3, 9], [12, 5]], np.uint8)
    process = process_of(Identity(), exact_velocity(jnp.ones_like), pixel_levels=17)

    def weights(gamma, noise):
        path = Steps(gamma, Table(jnp.ones_like(gamma[1:])))
        return log_weight(process, path, jnp.asarray(pixels), noise[0], lambda k: noise[k + 1])

    noise = np.random.RandomState(0).normal(size=(9, 2, 2))
    single, double = in_both_precisions(weights, np.linspace(-8.0, 5.0, 9), noise)
    np.testing.assert_allclose(single, double, rtol=1e-5)


def test_effective_draws_against_a_by_hand():
    log_w = np.log(np.float32([[1.0, 1.0], [1.0, 3.0]]))
    draws, bound = jax.jit(lambda log_w: (effective_draws(log_w), importance_bound(log_w)))(log_w)
    np.testing.assert_allclose(draws, [2.0, 16 / 10], rtol=1e-6)
    np.testing.assert_allclose(bound, [0.0, -math.log(2.0)], atol=1e-6)
