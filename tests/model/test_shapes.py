"""Models of unusual images: single pixels, four channels, not square, two levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from diffenc_jax.diffusion.losses import bound_at
from diffenc_jax.model import DataSpec, build
from tests import tiny
from tests.diffusion.formulas import full_sum


def terms(model):
    """Jitted (params, pixels) -> the terms of the bound at infinite depth, and the noise."""

    def compute(params, pixels):
        process, noise = model.bind(params), model.draw_noise(jax.random.key(1), jnp.linspace(0.2, 0.9, len(pixels)))
        return bound_at(process, pixels, process.instant(noise.t), noise), noise

    return jax.jit(compute)


UNUSUAL = [(1, (1, 1, 1), 2), pytest.param(3, (2, 6, 4), 256, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("batch", "shape", "levels"), UNUSUAL)
def test_networks_of_zeros_have_the_closed_bound_in_unusual_shapes(batch, shape, levels):
    """A network of zeros outputs 0, so v̂ = z_t; nats of one pixel with two levels, and of four channels, in float64."""
    model = build(tiny.config("vdm"), DataSpec(shape, levels))
    params = tiny.drawn(model, scale=0.0)
    pixels = np.random.RandomState(0).randint(0, levels, (batch, *shape)).astype(np.uint8)
    ours, noise = terms(model)(params, pixels)
    low, high = -13.3 + 2 * np.log(256 / levels), 5.0
    x = (2 * (pixels + 0.5) / levels - 1).reshape(batch, -1)
    t, eps_0, eps = (np.asarray(a, np.float64).reshape(batch, -1) for a in noise)
    gamma = low + (high - low) * t
    alpha, sigma = np.sqrt(sigmoid(-gamma)), np.sqrt(sigmoid(gamma))
    velocity_error = (alpha * eps - sigma * x) - (alpha * x + sigma * eps)
    diffusion = 0.5 * (high - low) * alpha**2 * velocity_error**2
    np.testing.assert_allclose(ours.diffusion, diffusion.sum(1), rtol=1e-5)
    alpha2 = sigmoid(-high)
    np.testing.assert_allclose(ours.latent, 0.5 * (alpha2 * x**2 - alpha2 - np.log(sigmoid(high))).sum(1), rtol=1e-5)
    exact = -full_sum(x + np.exp(low / 2) * eps_0, pixels.reshape(batch, -1), low, levels)
    np.testing.assert_allclose(ours.reconstruction, exact, rtol=1e-3, atol=1e-5)
