"""Samples of the probability flow: exact for Gaussian data, and on the way back where they came from."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion.encoders import Trainable
from diffenc_jax.diffusion.flow import Solver, carry, flow_of
from tests.diffusion.test_likelihood import (
    DIMS,
    ENCODERS,
    GAMMA_0,
    GAMMA_1,
    SHAPE,
    covariance,
    draws,
    gaussian_flow,
    hard,
    marginal,
    solve,
    tolerant,
)
from tests.diffusion.test_losses import process_of


def carried_down(flow):
    return jax.jit(lambda z_1: carry(flow, z_1, tuple(map(jnp.asarray, (GAMMA_1, GAMMA_0))), Solver(1e-7, 1e-7)))


@pytest.mark.parametrize("name", [pytest.param("identity", marks=pytest.mark.slow), "trainable"])
def test_noise_becomes_the_data(x64, name):
    """z_0 = S_0^½ S_1^-½ z_1 is linear in z_1 ~ N(0, I), so that unit vectors tell its covariance, S_0 S_1^-1."""
    f, k = ENCODERS[name]
    cov = covariance()
    arrived = carried_down(gaussian_flow(cov, f, k))(jnp.eye(DIMS).reshape(-1, *SHAPE)).reshape(-1, DIMS)
    s_0, s_1 = (marginal(cov, f, jnp.asarray(gamma)) for gamma in (GAMMA_0, GAMMA_1))
    np.testing.assert_allclose(arrived.T @ arrived, s_0 @ jnp.linalg.inv(s_1), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["identity", "trainable"])
def test_the_likelihood_takes_a_sample_for_the_noise_that_it_came_from(x64, name):
    flow, z_1 = gaussian_flow(covariance(), *ENCODERS[name]), draws()
    prior = 0.5 * (jnp.square(z_1).sum((1, 2)) + DIMS * math.log(2 * math.pi))
    np.testing.assert_allclose(solve(flow, carried_down(flow)(z_1), solver=tolerant(1e-7)).prior, prior, rtol=1e-4)


def test_who_gives_up_is_no_number(x64):
    z = draws(2) * jnp.asarray([1e-3, 3.0])[:, None, None]
    ends = jnp.asarray(2.0), jnp.asarray(-2.0)
    arrived = jax.jit(lambda z: carry(hard, z, ends, Solver(1e-4, 1e-4, max_steps=12)))(z)
    assert np.isfinite(arrived[0]).all()
    assert np.isnan(arrived[1]).all()


def test_a_network_encoder_without_derivative_head_has_no_flow():
    process = process_of(Trainable(lambda x, gamma: x), lambda z, gamma: z)
    with pytest.raises(InputError, match="needs a derivative head"):
        flow_of(process)(jnp.ones((2, 3)), jnp.zeros(2))
