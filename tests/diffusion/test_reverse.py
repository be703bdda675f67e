"""The encoding that the generative model assumes, against the path's own step, and where both assumptions agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import Identity, NonTrainable, Residual, Shrinking, Trainable
from diffenc_jax.diffusion.flow import flow_of
from diffenc_jax.diffusion.gaussian import align, alpha, image_from_velocity
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.reverse import ThroughEncoder, mean
from diffenc_jax.diffusion.steps import Step

ENCODERS = {
    "identity": Identity(),
    "nontrainable": NonTrainable(),
    "shrinking": Shrinking(0.4),
    "trainable": Trainable(lambda x, gamma: jnp.sin(2 * x + align(gamma, x))),
    "residual": Residual(lambda x, gamma: jnp.cos(x - align(gamma, x))),
}
every_encoder = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)


@pytest.fixture
def drawn(x64):
    """A step, z_t and x̂ [6, 4]."""
    rng = np.random.RandomState(3)
    gamma = np.sort(rng.uniform(-12.0, 5.0, (2, 6)), axis=0)
    return Step(*gamma, Table(np.ones(6)), np.ones(())), *rng.normal(size=(2, 6, 4))


@every_encoder
def test_through_the_encoder_the_step_is_the_path_s(drawn, encoder):
    """μ_P is the mean of q(z_s | z_t, x) at x = x̂."""

    @jax.jit
    def found_and_expected(step, z_t, x):
        kept = align(jnp.exp(step.gamma_s - step.gamma_t), x)
        x_s, x_t = encoder.mean(x, step.gamma_s), encoder.mean(x, step.gamma_t)
        a_s, a_t = (align(alpha(gamma), x) for gamma in (step.gamma_s, step.gamma_t))
        expected = a_s / a_t * kept * z_t + a_s * (x_s - kept * x_t)
        return mean(z_t, ThroughEncoder()(x, step, encoder), step), expected

    np.testing.assert_allclose(*found_and_expected(*drawn), atol=1e-9)


@every_encoder
def test_the_flow_is_that_of_the_image(drawn, encoder):
    """dz/dγ = d(α x_t)/dγ + ½ α² (z - α x_t) at x = x̂: the velocity of a path with a given image."""
    process = Process(encoder, lambda z, gamma: Prediction(jnp.sin(3 * z)), lambda t: t, ThroughEncoder())

    @jax.jit
    def found_and_expected(z, gamma):
        x_hat = image_from_velocity(z, jnp.sin(3 * z), gamma)
        centre = lambda gamma: align(alpha(gamma), z) * encoder.mean(x_hat, gamma)  # noqa: E731
        at, change = jax.jvp(centre, (gamma,), (jnp.ones_like(gamma),))
        return flow_of(process)(z, gamma), change + 0.5 * align(jax.nn.sigmoid(-gamma), z) * (z - at)

    np.testing.assert_allclose(*found_and_expected(drawn[1], drawn[0].gamma_t), atol=1e-9)
