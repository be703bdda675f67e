"""The encoding that the generative model assumes, against the path's own step, and where both assumptions agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import Identity, NonTrainable, Residual, Shrinking, Trainable
from diffenc_jax.diffusion.flow import flow_of
from diffenc_jax.diffusion.gaussian import align, alpha, image_from_velocity, sigma
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.reverse import ThroughEncoder, exponential, linear, mean
from diffenc_jax.diffusion.steps import Instant, Step

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
    gamma = jnp.asarray(np.sort(rng.uniform(-12.0, 5.0, (2, 6)), axis=0))
    return Step(*gamma, Table(jnp.ones(6)), jnp.ones(())), *jnp.asarray(rng.normal(size=(2, 6, 4)))


@every_encoder
def test_through_the_encoder_the_step_is_the_path_s(drawn, encoder):
    """μ_P is the mean of q(z_s | z_t, x) at x = x̂."""
    step, z_t, x = drawn
    kept = align(jnp.exp(step.gamma_s - step.gamma_t), x)
    x_s, x_t = encoder.mean(x, step.gamma_s), encoder.mean(x, step.gamma_t)
    a_s, a_t = (align(alpha(gamma), x) for gamma in (step.gamma_s, step.gamma_t))
    expected = a_s / a_t * kept * z_t + a_s * (x_s - kept * x_t)
    np.testing.assert_allclose(mean(z_t, ThroughEncoder()(x, step, encoder), step), expected, atol=1e-9)


@every_encoder
def test_at_infinite_depth_the_prediction_is_that_of_the_image(drawn, encoder):
    """x_t - dx_t/dγ is predicted by the same function of x̂, through both terms of `Errors`."""
    step, z_t, x = drawn
    gamma, x_hat, place = step.gamma_t, jnp.roll(x, 1, axis=1), Instant(step.gamma_t, jnp.ones(6))
    process = Process(encoder, lambda z, gamma: Prediction(z), lambda t: t, ThroughEncoder())
    s = align(sigma(gamma), x)
    v, v_hat = ((align(alpha(gamma), x) * z_t - image) / s for image in (encoder.mean(x, gamma), x_hat))
    estimate = process.estimate(z_t, gamma)._replace(x_hat=x_hat, v=v_hat)
    errors = process.errors(place, estimate, v, place.encode(encoder, x).drift)
    predicted, wanted = (rate(encoder, image, gamma) for image in (x_hat, x))
    np.testing.assert_allclose(-s * (errors.velocity + errors.drift), wanted - predicted, atol=1e-9)


def rate(encoder, x, gamma):
    """x_t - dx_t/dγ."""
    x_t, derivative = jax.jvp(lambda gamma: encoder.mean(x, gamma), (gamma,), (jnp.ones_like(gamma),))
    return x_t - derivative


@pytest.mark.parametrize(("encoder", "share"), [(Identity(), lambda gamma: 1.0 + 0 * gamma), (NonTrainable(), None)])
def test_both_assumptions_agree_where_the_encoder_is_linear_in_its_share(drawn, encoder, share):
    """For the identity and α² x, an estimate of x_t is as good as one of x: k = 1 and, over steps, `exponential`."""
    step, z_t, x = drawn
    instant = Instant(step.gamma_t, jnp.ones(6))
    x_t = encoder.mean(x, step.gamma_t)
    through = mean(z_t, ThroughEncoder()(x, step, encoder), step)
    np.testing.assert_allclose(through, mean(z_t, exponential(x_t, step, encoder), step), atol=1e-9)
    variance = align(jax.nn.sigmoid(step.gamma_t), x)
    published = (1 + encoder.drifts * variance) * x_t
    np.testing.assert_allclose(rate(encoder, x, step.gamma_t), published, atol=1e-9)
    np.testing.assert_allclose(linear(x_t, instant, encoder).correction, encoder.drifts * x_t)


@every_encoder
def test_the_flow_is_that_of_the_image(drawn, encoder):
    """dz/dγ = d(α x_t)/dγ + ½ α² (z - α x_t) at x = x̂: the velocity of a path with a given image."""
    step, z, _ = drawn
    gamma = step.gamma_t
    process = Process(encoder, lambda z, gamma: Prediction(jnp.sin(3 * z)), lambda t: t, ThroughEncoder())
    x_hat = image_from_velocity(z, jnp.sin(3 * z), gamma)
    centre = lambda gamma: align(alpha(gamma), z) * encoder.mean(x_hat, gamma)  # noqa: E731
    at, change = jax.jvp(centre, (gamma,), (jnp.ones_like(gamma),))
    expected = change + 0.5 * align(jax.nn.sigmoid(-gamma), z) * (z - at)
    np.testing.assert_allclose(flow_of(process)(z, gamma), expected, atol=1e-9)
