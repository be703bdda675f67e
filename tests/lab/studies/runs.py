"""Runs whose models are formulas instead of networks, and data and expectations for them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from diffenc_jax.diffusion.encoders import Identity, NonTrainable
from diffenc_jax.diffusion.schedules import FixedLinear
from diffenc_jax.model import DataSpec
from diffenc_jax.nets.network import ScoreNetwork
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.base import BaseRun
from tests import tiny
from tests.diffusion.formulas import process_of
from tests.formula_model import formula_model
from tests.stored_runs import trained


def model_of(encoder, velocity, gamma_ends, pixel_levels=tiny.LEVELS, schedule=FixedLinear):
    """A model whose score network is velocity(z, γ)."""
    schedule = schedule(*gamma_ends)
    process = process_of(encoder, velocity, pixel_levels=pixel_levels, gamma=lambda t: schedule.apply({}, t))
    return formula_model(DataSpec((4, 4, 1), pixel_levels), schedule, encoder, lambda params: process)


def opened(model, images, batch_size=8, **changes):
    """A run with this model without parameters, opened in memory, which evaluates on `images`."""
    dataset = tiny.dataset({"test": images}, "made up", spec=model.spec)
    config = tiny.config(eval__batch_size=batch_size, **changes)
    return trained(BaseRun(config, make_mesh(), dataset, model), {})


class DoubledIdentity(Identity):
    """The identity of 2 x: pixels of two levels, ±½, become ±1, whose square is that of N(0, 1) on average."""

    def mean_and_slope(self, x, gamma):
        return super().mean_and_slope(2.0 * x, gamma)


class DoubledNonTrainable(NonTrainable):
    """x_t = α_t² (2 x)."""

    def mean_and_slope(self, x, gamma):
        return super().mean_and_slope(2.0 * x, gamma)


def nontrainable_errors(gamma):
    """E of (v - v̂)² and of the squared residual per dimension, for x_t = α² x with data N(0, 1).

    E(v - v̂)² = Var[x_t | z] / σ² = α⁴ / (α⁶ + σ²), and the residual is σ (x̂ - x_t).
    """
    alpha2, sigma2 = 1 / (1 + np.exp(gamma)), 1 / (1 + np.exp(-gamma))
    velocity = alpha2**2 / (alpha2**3 + sigma2)
    return velocity, sigma2**2 * velocity


def binary_images(count):
    """uint8 [count, 4, 4, 1] of two levels."""
    return np.random.RandomState(0).randint(0, 2, (count, 4, 4, 1)).astype(np.uint8)


def assert_mean(draws, expected, precision):
    """Assert that the mean of independent `draws` [draws, images, ...] is as expected, with a small enough error."""
    error = draws.std(axis=(0, 1)) / np.sqrt(draws.shape[0] * draws.shape[1])
    assert np.all(error <= precision * np.abs(expected))
    assert np.all(np.abs(draws.mean(axis=(0, 1)) - expected) <= 5 * error + 1e-5)


def constant_image(value):
    """A velocity whose x̂ is `value` everywhere: v̂ = (α z - x̂) / σ."""

    def velocity(z, gamma):
        alpha, sigma = (jnp.sqrt(jax.nn.sigmoid(g))[:, None, None, None] for g in (-gamma, gamma))
        return (alpha * z - value) / sigma

    return velocity


class Affine(ScoreNetwork):
    """A network that compiles fast, affine in x and time."""

    @nn.compact
    def __call__(self, x, time, dropout_key=None):
        time = jnp.broadcast_to(time[:, None, None, None], x.shape)
        return nn.Dense(1)(jnp.concatenate([x, time], axis=-1))
