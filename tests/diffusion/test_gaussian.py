"""What the score network estimates: every registered prediction against the algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import Identity, NonTrainable
from diffenc_jax.diffusion.gaussian import align, alpha, diffuse, image_from_velocity, sigma
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.steps import Step
from tests.diffusion.test_losses import GAMMA_0, GAMMA_1, diffusion_loss, process_of, schedule
from tests.registered import PREDICTIONS

# The quantity that each name stands for, from x_t, ε and γ.
MEANT = {"v": lambda x, eps, gamma: diffuse(x, gamma, eps)[1], "eps": lambda x, eps, gamma: eps}
MEANT["x"] = lambda x, eps, gamma: x


def draws(count=4, batch=6):
    rng = np.random.RandomState(0)
    t = jnp.asarray(rng.uniform(size=batch))
    return t, *(jnp.asarray(rng.normal(size=(batch, 3, 2))) for _ in range(count - 1))


def test_all_are_tested():
    assert PREDICTIONS.keys() == MEANT.keys()


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_truth_gives_the_true_velocity(x64, name):
    t, x, eps, _ = draws()
    gamma = schedule(t)
    z, v = diffuse(x, gamma, eps)
    np.testing.assert_allclose(PREDICTIONS[name](z, MEANT[name](x, eps, gamma), gamma), v, atol=1e-12)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_float32_keeps_the_image(name):
    """x̂ from the truth, in float32, to some of its roundings wherever the noise is."""
    x, eps = (jnp.asarray(np.random.RandomState(i).uniform(-1, 1, (32, 20)), jnp.float32) for i in range(2))
    gamma = schedule(jnp.linspace(0.0, 1.0, 32))
    z, _ = diffuse(x, gamma, eps)
    v_hat = PREDICTIONS[name](z, MEANT[name](x, eps, gamma), gamma)
    np.testing.assert_allclose(image_from_velocity(z, v_hat, gamma), x, atol=1e-5)


def test_an_estimate_of_noise_is_one_of_the_image(x64):
    """x̂ = (z - σ ε̂) / α, whatever ε̂."""
    t, z, eps, _ = draws()
    gamma = schedule(t)
    expected = (z - align(sigma(gamma), z) * eps) / align(alpha(gamma), z)
    np.testing.assert_allclose(image_from_velocity(z, PREDICTIONS["eps"](z, eps, gamma), gamma), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "weight"), [("v", lambda g: jax.nn.sigmoid(-g)), ("eps", jnp.ones_like), ("x", lambda g: jnp.exp(-g))]
)
def test_the_loss_of_the_identity_is_a_weighted_square(x64, name, weight):
    """½ γ' α² ‖v - v̂‖² = ½ γ' ‖ε - ε̂‖² = ½ γ' e^(-γ) ‖x - x̂‖²."""
    t, x, eps, error = draws()
    gamma = schedule(t)
    estimate = MEANT[name](x, eps, gamma) + error
    process = process_of(Identity(), lambda z, g: PREDICTIONS[name](z, estimate, g))
    loss = diffusion_loss(process, process.instant(t), x, eps)
    expected = 0.5 * (GAMMA_1 - GAMMA_0) * weight(gamma) * jnp.sum(error**2, axis=(1, 2))
    np.testing.assert_allclose(loss, expected, rtol=1e-9)


def test_at_finite_depth_too(x64):
    """½ T (e^(γ_t - γ_s) - 1) ‖ε - ε̂‖² for the identity with ratio 1 (arXiv 2107.00630, equation 14)."""
    t, x, eps, error = draws()
    depth, gamma_t = 50, schedule(t)
    at = Step(schedule(t - 1 / depth), gamma_t, Table(jnp.ones(len(t))), jnp.asarray(float(depth)))
    loss = diffusion_loss(process_of(Identity(), lambda z, g: PREDICTIONS["eps"](z, eps + error, g)), at, x, eps)
    expected = 0.5 * depth * jnp.expm1(gamma_t - at.gamma_s) * jnp.sum(error**2, axis=(1, 2))
    np.testing.assert_allclose(loss, expected, rtol=1e-8)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_with_an_encoder_the_estimate_is_of_x_t(x64, name):
    """The same x̂ of x_t gives the same loss in every form."""
    t, x, eps, v_hat = draws()
    x_t = NonTrainable().mean(x, schedule(t))
    z, _ = diffuse(x_t, schedule(t), eps)
    x_hat = image_from_velocity(z, v_hat, schedule(t))
    eps_hat = (z - align(alpha(schedule(t)), z) * x_hat) / align(sigma(schedule(t)), z)
    estimate = {"v": v_hat, "eps": eps_hat, "x": x_hat}[name]
    ours = process_of(NonTrainable(), lambda z, g: PREDICTIONS[name](z, estimate, g))
    theirs = process_of(NonTrainable(), lambda z, g: v_hat)
    ours, theirs = (diffusion_loss(process, process.instant(t), x, eps) for process in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)
