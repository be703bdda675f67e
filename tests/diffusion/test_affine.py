"""An encoder that scales the noise: its steps, its loss and its flow against the formulas of the paper, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.ancestral import model_step
from diffenc_jax.diffusion.encoders import MOST, Affine
from diffenc_jax.diffusion.flow import flow_of
from diffenc_jax.diffusion.gaussian import align, alpha, image_from_velocity, sigma
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.reverse import ThroughEncoder
from diffenc_jax.diffusion.steps import Step

REACH = 0.4
WIDE = Affine(REACH, lambda x, g: jnp.concatenate([jnp.sin(2 * x + align(g, x)), jnp.cos(3 * x - align(g, x))], -1))


def predict(z, gamma):
    return Prediction(jnp.sin(2 * z + 0.1 * align(gamma, z)))


def process_of(encoder):
    return Process(encoder, predict, lambda t: -10.0 + 14.0 * t, ThroughEncoder())


def state(encoder, x, gamma):
    """μ and σ of q(z | x)."""
    encoded = encoder.encode(x, gamma)
    return align(alpha(gamma), x) * encoded.x_t, align(sigma(gamma), x) * jnp.exp(encoded.log_std)


def posterior(encoder, x, z_t, step):
    """Mean and variance of q(z_s | z_t, x), from the marginals and the variance of the new noise."""
    (mean_s, std_s), (mean_t, std_t) = (state(encoder, x, gamma) for gamma in (step.gamma_s, step.gamma_t))
    new = jnp.minimum(-jnp.expm1(step.gamma_s - step.gamma_t), MOST * np.exp(-2 * REACH)) / (1 + jnp.exp(-step.gamma_s))
    new = align(new, x)
    return mean_s + jnp.sqrt(std_s**2 - new) * (z_t - mean_t) / std_t, new


@pytest.fixture
def drawn(x64):
    """Short and long steps, x and ε [8, 5]."""
    rng = np.random.RandomState(3)
    gamma_t = rng.uniform(-9.0, 4.0, 8)
    gamma_s = gamma_t - np.repeat([1e-2, 0.3, 1.0, 4.0], 2)
    step = Step(gamma_s, gamma_t, Table(rng.uniform(0.4, 1.5, 8)), np.ones(()))
    return step, *rng.normal(size=(2, 8, 5))


def test_the_loss_of_a_step_is_the_divergence(drawn):

    @jax.jit
    def found_and_by_hand(step, x, eps):
        mean_t, std_t = state(WIDE, x, step.gamma_t)
        z_t = mean_t + std_t * eps
        x_hat = image_from_velocity(z_t, predict(z_t, step.gamma_t).v, step.gamma_t)
        (mean_q, new), (mean_p, _) = (posterior(WIDE, image, z_t, step) for image in (x, x_hat))
        w = align(step.ratio.ratio, x)
        loss = 0.5 * (w - 1 - jnp.log(w) + w * (mean_q - mean_p) ** 2 / new).sum(axis=1)
        found = step.loss(losses.errors_at(process_of(WIDE), step, x, eps)), *model_step(process_of(WIDE), z_t, step)
        return found, (loss, mean_p, jnp.broadcast_to(jnp.sqrt(new / w), x.shape))

    (loss, *found), (expected, *by_hand) = found_and_by_hand(*drawn)
    np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=1e-9)
    for value, other in zip(found, by_hand, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-9, atol=1e-9)


def velocity(encoder, x, z, gamma, share):
    """dμ/dγ + (dσ/dγ / σ + share σ_γ² / (2 σ²)) (z - μ): the reverse drift for 1, the flow for 0, forward for -1."""
    (mean, std), (mean_rate, std_rate) = jax.jvp(
        lambda gamma: state(encoder, x, gamma), (gamma,), (jnp.ones_like(gamma),)
    )
    return mean_rate + (std_rate / std + 0.5 * share * align(jax.nn.sigmoid(gamma), x) / std**2) * (z - mean)


def test_the_continuous_loss_compares_the_reverse_drifts(drawn):
    """½ γ'(t) ‖b - b̂‖² / σ_t² (arXiv 2404.12940)."""
    process = process_of(WIDE)

    @jax.jit
    def found_and_by_hand(gamma, x, eps):
        instant = process.instant((gamma + 10.0) / 14.0)
        mean, std = state(WIDE, x, gamma)
        z = mean + std * eps
        x_hat = image_from_velocity(z, predict(z, gamma).v, gamma)
        difference = velocity(WIDE, x, z, gamma, 1.0) - velocity(WIDE, x_hat, z, gamma, 1.0)
        loss = 0.5 * 14.0 * jnp.sum(difference**2, axis=1) / jax.nn.sigmoid(gamma)
        found = instant.loss(losses.errors_at(process, instant, x, eps)), flow_of(process)(z, gamma)
        return found, (loss, velocity(WIDE, x_hat, z, gamma, 0.0))

    (loss, flow), (expected_loss, expected_flow) = found_and_by_hand(drawn[0].gamma_t, *drawn[1:])
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-7)
    np.testing.assert_allclose(flow, expected_flow, atol=1e-9)
