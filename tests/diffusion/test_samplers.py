"""Ancestral sampling where everything is Gaussian and linear, so that variances can be followed exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.samplers import ancestral, ancestral_step
from tests.diffusion.test_losses import exact_velocity, schedule


def sampled_variance(factor, compensation, depth):
    """Variance of z_0 / α_0: a step is linear in (z_t, ε), so unit inputs give its two coefficients."""
    predict_v = exact_velocity(factor)
    variance = 1.0
    for i in range(depth):
        gamma_t, gamma_s = (schedule(jnp.full(2, 1 - j / depth)) for j in (i, i + 1))
        z, eps = jnp.asarray([[1.0], [0.0]]), jnp.asarray([[0.0], [1.0]])
        a, b = ancestral_step(predict_v, z, gamma_s, gamma_t, eps, compensation)[:, 0]
        variance = float(a**2 * variance + b**2)
    return variance / float(jax.nn.sigmoid(-schedule(jnp.zeros(()))))


@pytest.mark.parametrize(
    ("factor", "compensation"), [(jnp.ones_like, 0.0), (lambda gamma: jax.nn.sigmoid(-gamma), 1.0)]
)
def test_samples_approach_the_data_at_rate_one_over_depth(x64, factor, compensation):
    """The variance of the data is 1; doubling the depth halves the error."""
    errors = [abs(sampled_variance(factor, compensation, depth) - 1) for depth in (200, 400)]
    assert errors[1] < 0.05
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.08)


def test_the_loop_is_its_steps(x64):
    predict_v = exact_velocity(jnp.ones_like)
    noise = jnp.asarray(np.random.RandomState(0).normal(size=(4, 3, 2)))
    z_1 = jnp.ones((3, 2))
    z = z_1
    for i in range(4):
        gamma_t, gamma_s = (schedule(jnp.full(3, 1 - j / 4)) for j in (i, i + 1))
        z = ancestral_step(predict_v, z, gamma_s, gamma_t, noise[i], 0.0)
    expected = z / jnp.sqrt(jax.nn.sigmoid(-schedule(jnp.zeros(()))))
    np.testing.assert_allclose(ancestral(predict_v, schedule, z_1, lambda i: noise[i], 4, 0.0), expected, rtol=1e-10)
