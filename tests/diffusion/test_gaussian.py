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
    return jax.device_put((rng.uniform(size=batch), *rng.normal(size=(count - 1, batch, 3, 2))))


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_truth_gives_the_true_velocity(x64, name):
    t, x, eps, _ = draws()
    gamma = schedule(t)
    z, v = diffuse(x, gamma, eps)
    np.testing.assert_allclose(PREDICTIONS[name](z, MEANT[name](x, eps, gamma), gamma), v, atol=1e-12)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_float32_keeps_the_image(name):
    """x̂ from the truth, in float32, to some of its roundings wherever the noise is."""
    x, eps = jax.device_put(np.random.RandomState(0).uniform(-1, 1, (2, 32, 20)).astype(np.float32))
    gamma = schedule(jnp.linspace(0.0, 1.0, 32))
    z, _ = diffuse(x, gamma, eps)
    v_hat = PREDICTIONS[name](z, MEANT[name](x, eps, gamma), gamma)
    np.testing.assert_allclose(image_from_velocity(z, v_hat, gamma), x, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "weight"), [("v", lambda g: jax.nn.sigmoid(-g)), ("eps", jnp.ones_like), ("x", lambda g: jnp.exp(-g))]
)
def test_the_loss_of_the_identity_is_a_weighted_square(x64, name, weight):
    """½ γ' α² ‖v - v̂‖² = ½ γ' ‖ε - ε̂‖² = ½ γ' e^(-γ) ‖x - x̂‖²."""
    t, x, eps, error = draws()
    gamma = schedule(t)
    estimate = MEANT[name](x, eps, gamma) + error
    process = process_of(Identity(), lambda z, g: PREDICTIONS[name](z, estimate, g))
    loss = jax.jit(lambda t, x, eps: diffusion_loss(process, process.instant(t), x, eps))(t, x, eps)
    expected = 0.5 * (GAMMA_1 - GAMMA_0) * weight(gamma) * jnp.sum(error**2, axis=(1, 2))
    np.testing.assert_allclose(loss, expected, rtol=1e-9)
