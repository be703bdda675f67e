"""The contract of every registered encoder."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.gaussian import align
from tests.registered import ENCODERS

# Values of the encoders' own keys.
OPTIONS = {"shrinking": {"amount": 0.5}, "affine": {"reach": 0.3}}


def make(name):
    kind = ENCODERS[name]
    output = lambda x, gamma: jnp.concatenate([jnp.sin(2 * x + align(gamma, x))] * kind.outputs, axis=-1)  # noqa: E731
    return kind(**OPTIONS.get(name, {}), **({"network": output} if kind.network_kind else {}))


@pytest.fixture
def x():
    return np.random.RandomState(0).uniform(-1, 1, (7, 4, 2))


def sigmoid(gamma):
    """σ² of seven images."""
    return (1 / (1 + np.exp(-gamma)))[:, None, None]


class Compiled:
    """An encoder's functions of arrays, each as one program."""

    def __init__(self, encoder):
        self.mean, slope, quotient = (
            jax.jit(f) for f in (encoder.mean, encoder.mean_and_slope, encoder.mean_and_quotient)
        )
        self.mean_and_slope = lambda *inputs: map(np.asarray, slope(*inputs)[:2])
        self.mean_and_quotient = lambda *inputs: map(np.asarray, quotient(*inputs)[:2])


@cache
def compiled(name):
    return Compiled(make(name))


@pytest.mark.parametrize("name", ENCODERS)
def test_slope_is_the_derivative_over_the_variance(x64, name, x):
    encoder, gamma = compiled(name), np.linspace(-13.0, 5.0, 7)
    x_t, slope = encoder.mean_and_slope(x, gamma)
    np.testing.assert_allclose(x_t, encoder.mean(x, gamma), rtol=1e-12)
    step = 1e-5
    later, earlier = (np.asarray(encoder.mean(x, gamma + sign * step)) for sign in (1, -1))
    np.testing.assert_allclose(sigmoid(gamma) * slope, (later - earlier) / (2 * step), atol=1e-9)


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_is_changed_at_the_data_end(x64, name, x):
    np.testing.assert_allclose(compiled(name).mean(x, np.full(7, -40.0)), x, atol=1e-12)


@pytest.mark.parametrize("name", ENCODERS)
def test_quotient_is_the_difference_over_its_weight(x64, name, x):
    """(x_t - x_s) / (c σ_t²), of steps long and short."""
    encoder, gamma_t = compiled(name), np.linspace(-12.0, 5.0, 7)
    gamma_s = gamma_t - np.asarray([0.01, 0.1, 1.0, 3.0, 6.0, 12.0, 18.0])
    x_t, quotient = encoder.mean_and_quotient(x, gamma_s, gamma_t)
    np.testing.assert_allclose(x_t, encoder.mean(x, gamma_t), rtol=1e-12)
    weight = -np.expm1(gamma_s - gamma_t)[:, None, None] * sigmoid(gamma_t)
    np.testing.assert_allclose(weight * quotient, x_t - np.asarray(encoder.mean(x, gamma_s)), atol=1e-12)


@pytest.mark.parametrize("name", ENCODERS)
def test_quotient_of_a_short_step_is_the_slope(x64, name, x):
    encoder, gamma = compiled(name), np.linspace(-13.0, 5.0, 7)
    (_, slope), (_, quotient) = encoder.mean_and_slope(x, gamma), encoder.mean_and_quotient(x, gamma - 1e-6, gamma)
    np.testing.assert_allclose(quotient, slope, atol=1e-5)


class MeanAlone(Encoder):
    """x_t = x cos(σ_t²), by its mean alone."""

    def mean(self, x, gamma):
        return x * jnp.cos(align(jax.nn.sigmoid(gamma), x))


def test_an_encoder_may_define_its_mean_alone(x64, x):
    encoder, gamma = Compiled(MeanAlone()), np.linspace(-8.0, 5.0, 7)
    sigma2 = sigmoid(gamma)
    x_t, slope = encoder.mean_and_slope(x, gamma)
    np.testing.assert_allclose(slope, -x * np.sin(sigma2) * (1 - sigma2), rtol=1e-9)
    np.testing.assert_allclose(x_t, encoder.mean(x, gamma), rtol=1e-12)
    _, quotient = encoder.mean_and_quotient(x, gamma - 2.0, gamma)
    difference = x_t - np.asarray(encoder.mean(x, gamma - 2.0))
    np.testing.assert_allclose(-np.expm1(-2.0) * sigma2 * quotient, difference, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, kind in ENCODERS.items() if kind.has_slope])
def test_an_encoder_that_states_a_slope_estimates_its_own(x64, name, x):
    encoder, gamma = compiled(name), np.linspace(-8.0, 5.0, 7)
    x_t, slope = encoder.mean_and_slope(x, gamma)
    np.testing.assert_allclose(jax.jit(make(name).slope_estimate)(x_t, gamma), slope, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, kind in ENCODERS.items() if kind.has_image])
def test_an_image_estimate_gives_back_the_image(x64, name, x):
    gamma = np.linspace(-13.0, 5.0, 7)
    np.testing.assert_allclose(jax.jit(make(name).image_estimate)(compiled(name).mean(x, gamma), gamma), x, atol=1e-12)
