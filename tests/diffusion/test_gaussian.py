"""Quantities that the score network can estimate: every registered prediction against the algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.gaussian import align, diffuse, image_from_velocity
from tests.diffusion.formulas import GAMMA_0, GAMMA_1, diffusion_loss, process_of, schedule
from tests.registered import PREDICTIONS


def factor_of_change(gamma):
    """σ / sqrt(σ² + 0.01)."""
    return jnp.sqrt(jax.nn.sigmoid(gamma) / (jax.nn.sigmoid(gamma) + 0.01))


# The quantity that each name stands for, from x_t, ε and γ.
MEANT = {
    "v": lambda x, eps, gamma: diffuse(x, gamma, eps)[1],
    "change": lambda x, eps, gamma: (
        diffuse(x, gamma, eps)[0] + diffuse(x, gamma, eps)[1] / align(factor_of_change(gamma), x)
    ),
    "eps": lambda x, eps, gamma: eps,
    "x": lambda x, eps, gamma: x,
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_float32_keeps_the_image(name):
    """x̂ from the truth, in float32, to some of its roundings wherever the noise is."""
    x, eps = jax.device_put(np.random.RandomState(0).uniform(-1, 1, (2, 32, 20)).astype(np.float32))
    gamma = schedule(jnp.linspace(0.0, 1.0, 32))
    z, _ = diffuse(x, gamma, eps)
    v_hat = PREDICTIONS[name](z, MEANT[name](x, eps, gamma), gamma)
    np.testing.assert_allclose(image_from_velocity(z, v_hat, gamma), x, atol=1e-5)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_loss_of_the_identity_is_a_weighted_square(x64, name):
    """½ γ' α² ‖v - v̂‖² = ½ γ' ‖ε - ε̂‖² = ½ γ' e^(-γ) ‖x - x̂‖²."""
    rng = np.random.RandomState(0)
    t, (x, eps, error) = jax.device_put((rng.uniform(size=6), rng.normal(size=(3, 6, 3, 2))))
    gamma = schedule(t)
    alpha2 = jax.nn.sigmoid(-gamma)
    change = alpha2 * jnp.square(factor_of_change(gamma))
    weight = {"v": alpha2, "change": change, "eps": 1.0, "x": jnp.exp(-gamma)}[name]
    estimate = MEANT[name](x, eps, gamma) + error
    process = process_of(Identity(), lambda z, g: PREDICTIONS[name](z, estimate, g))
    loss = jax.jit(lambda t, x, eps: diffusion_loss(process, process.instant(t), x, eps))(t, x, eps)
    expected = 0.5 * (GAMMA_1 - GAMMA_0) * weight * jnp.sum(error**2, axis=(1, 2))
    np.testing.assert_allclose(loss, expected, rtol=1e-9)
