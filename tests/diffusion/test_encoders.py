"""The contract of every registered encoder, and of one of one's own."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.gaussian import align
from tests.registered import ENCODERS


class MeanAlone(Encoder):
    """x_t = x cos(σ_t²), by its mean alone."""

    def mean(self, x, gamma):
        return x * jnp.cos(align(jax.nn.sigmoid(gamma), x))


ALL = {**ENCODERS, "mean alone": MeanAlone}
# Values of the encoders' own keys.
OPTIONS = {"shrinking": {"amount": 0.5}, "affine": {"reach": 0.3}}


def compiled(encoder):
    """The encoder, each of its functions of arrays as one program."""
    for name in ("mean", "mean_and_slope", "mean_and_quotient", "slope_estimate", "image_estimate"):
        object.__setattr__(encoder, name, jax.jit(getattr(encoder, name)))
    return encoder


@cache
def make(name):
    kind = ALL[name]
    output = lambda x, gamma: jnp.concatenate([jnp.sin(2 * x + align(gamma, x))] * kind.outputs, axis=-1)  # noqa: E731
    return compiled(kind(**OPTIONS.get(name, {}), **({"network": output} if kind.network_kind else {})))


@pytest.fixture
def x():
    return jnp.asarray(np.random.RandomState(0).uniform(-1, 1, (7, 4, 2)))


@pytest.mark.parametrize("name", ALL)
def test_slope_is_the_derivative_over_the_variance(x64, name, x):
    """And nothing is changed at the data end."""
    encoder, gamma = make(name), jnp.linspace(-13.0, 5.0, 7)
    x_t, slope, *_ = encoder.mean_and_slope(x, gamma)
    np.testing.assert_allclose(x_t, encoder.mean(x, gamma), rtol=1e-12)
    step = 1e-5
    difference = (encoder.mean(x, gamma + step) - encoder.mean(x, gamma - step)) / (2 * step)
    np.testing.assert_allclose(align(jax.nn.sigmoid(gamma), x) * slope, difference, atol=1e-9)
    np.testing.assert_allclose(encoder.mean(x, jnp.full(7, -40.0)), x, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_quotient_is_the_difference_over_its_weight(x64, name, x):
    """(x_t - x_s) / (c σ_t²), of steps long and short."""
    encoder, gamma_t = make(name), jnp.linspace(-12.0, 5.0, 7)
    gamma_s = gamma_t - jnp.asarray([0.01, 0.1, 1.0, 3.0, 6.0, 12.0, 18.0])
    x_t, quotient, *_ = encoder.mean_and_quotient(x, gamma_s, gamma_t)
    np.testing.assert_allclose(x_t, encoder.mean(x, gamma_t), rtol=1e-12)
    weight = -jnp.expm1(gamma_s - gamma_t) * jax.nn.sigmoid(gamma_t)
    np.testing.assert_allclose(align(weight, x) * quotient, x_t - encoder.mean(x, gamma_s), atol=1e-12)


@pytest.mark.parametrize("name", ENCODERS)
def test_quotient_of_a_short_step_is_the_slope(x64, name, x):
    encoder, gamma = make(name), jnp.linspace(-13.0, 5.0, 7)
    _, slope, *_ = encoder.mean_and_slope(x, gamma)
    _, quotient, *_ = encoder.mean_and_quotient(x, gamma - 1e-6, gamma)
    np.testing.assert_allclose(quotient, slope, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, kind in ENCODERS.items() if kind.has_slope])
def test_an_encoder_estimates_its_own_slope_and_image(x64, name, x):
    encoder, gamma = make(name), jnp.linspace(-13.0, 5.0, 7)
    x_t, slope, *_ = encoder.mean_and_slope(x, gamma)
    np.testing.assert_allclose(encoder.slope_estimate(x_t, gamma), slope, atol=1e-12)
    np.testing.assert_allclose(encoder.image_estimate(x_t, gamma), x, atol=1e-12)
