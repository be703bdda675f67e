"""Quantities that the score network can estimate: every registered prediction against the algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.gaussian import diffuse, image_from_velocity
from tests.diffusion.test_losses import GAMMA_0, GAMMA_1, diffusion_loss, process_of, schedule
from tests.registered import PREDICTIONS

# The quantity that each name stands for, from x_t, ε and γ.
MEANT = {"v": lambda x, eps, gamma: diffuse(x, gamma, eps)[1], "eps": lambda x, eps, gamma: eps}
MEANT["x"] = lambda x, eps, gamma: x


def draws(count=4, batch=6):
    rng = np.random.RandomState(0)
    return rng.uniform(size=batch), *rng.normal(size=(count - 1, batch, 3, 2))


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_truth_gives_the_true_velocity(x64, name):

    @jax.jit
    def found_and_true(t, x, eps):
        gamma = schedule(t)
        z, v = diffuse(x, gamma, eps)
        return PREDICTIONS[name](z, MEANT[name](x, eps, gamma), gamma), v

    np.testing.assert_allclose(*found_and_true(*draws(3)), atol=1e-12)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_float32_keeps_the_image(name):
    """x̂ from the truth, in float32, to some of its roundings wherever the noise is."""
    x, eps = np.random.RandomState(0).uniform(-1, 1, (2, 32, 20)).astype(np.float32)

    @jax.jit
    def image(t, x, eps):
        gamma = schedule(t)
        z, _ = diffuse(x, gamma, eps)
        return image_from_velocity(z, PREDICTIONS[name](z, MEANT[name](x, eps, gamma), gamma), gamma)

    np.testing.assert_allclose(image(np.linspace(0.0, 1.0, 32, dtype=np.float32), x, eps), x, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "weight"), [("v", lambda g: jax.nn.sigmoid(-g)), ("eps", jnp.ones_like), ("x", lambda g: jnp.exp(-g))]
)
def test_the_loss_of_the_identity_is_a_weighted_square(x64, name, weight):
    """½ γ' α² ‖v - v̂‖² = ½ γ' ‖ε - ε̂‖² = ½ γ' e^(-γ) ‖x - x̂‖²."""

    @jax.jit
    def found_and_expected(t, x, eps, error):
        gamma = schedule(t)
        estimate = MEANT[name](x, eps, gamma) + error
        process = process_of(Identity(), lambda z, g: PREDICTIONS[name](z, estimate, g))
        expected = 0.5 * (GAMMA_1 - GAMMA_0) * weight(gamma) * jnp.sum(error**2, axis=(1, 2))
        return diffusion_loss(process, process.instant(t), x, eps), expected

    np.testing.assert_allclose(*found_and_expected(*draws()), rtol=1e-9)
