"""The price of the drift: against closed forms, exact denoisers, and itself in other batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.process import Prediction
from diffenc_jax.lab.studies.encoder.ends import Ends
from diffenc_jax.lab.studies.encoder.measure import ByGamma, summarize
from diffenc_jax.lab.studies.encoder.price import measure_model_rates
from tests import tiny
from tests.diffusion.test_losses import exact_velocity
from tests.lab.studies import runs

GAMMA_ENDS = -7.0, 5.0
GAMMA = np.linspace(*GAMMA_ENDS, 41)
DIMS = 16
WAVE = Trainable(lambda x, gamma: jnp.sin(align(gamma, x) + 2.0 * x))


def opened(encoder, images, velocity=None, levels=tiny.LEVELS, batch_size=8):
    model = runs.formula_model(encoder, velocity or runs.constant_image(0.0), GAMMA_ENDS, pixel_levels=levels)
    return runs.opened(model, images, batch_size=batch_size)


def pixel_values(images, levels=tiny.LEVELS):
    return ((2.0 * images + 1.0) / levels - 1.0).reshape(len(images), -1)


def gaussian_rates(eigenvalues, gamma=GAMMA):
    """½ e^(-γ) Σ k'² λ / (1 + e^(-γ) k² λ) for x_t = k x with k = α² and k' = -α² σ²."""
    gamma = gamma[:, None]
    k, snr = 1 / (1 + np.exp(gamma)), np.exp(-gamma)
    constant = 0.5 * snr * np.square(k * (1 - k)) * eigenvalues
    return (constant / (1 + snr * k**2 * eigenvalues)).sum(axis=1)


def test_an_exact_denoiser_has_the_closed_form():
    """Pixels ±1 have the covariance of N(0, I), whose E[x_t | z_γ] is linear."""
    run = opened(
        runs.DoubledNonTrainable(),
        runs.binary_images(800),
        velocity=exact_velocity(lambda gamma: jax.nn.sigmoid(-gamma)),
        levels=2,
        batch_size=400,
    )
    gamma = np.linspace(*GAMMA_ENDS, 4)
    runs.assert_mean(measure_model_rates(run, gamma)[None], gaussian_rates(np.ones(DIMS), gamma), 0.05)


def test_the_estimate_of_a_derivative_head_is_used_where_there_is_one():
    """A head that estimates 0.2 everywhere misses the slope less 0.2."""
    run = opened(WAVE, tiny.images(7))
    process = dataclasses.replace(run.model.process, predict=lambda z, gamma: Prediction(z, jnp.full_like(z, 0.2)))
    run = dataclasses.replace(run, model=run.model._replace(process=process))
    rates = measure_model_rates(run, np.array([0.5]))
    x = jnp.float32(pixel_values(tiny.images(7)).reshape(7, 4, 4, 1))
    missed = WAVE.mean_and_slope(x, jnp.full(7, 0.5)).drift - 0.2
    weight = 0.5 * np.exp(0.5) / (1 + np.exp(0.5)) ** 2
    np.testing.assert_allclose(rates[:, 0], weight * np.square(missed).sum(axis=(1, 2, 3)), rtol=1e-4)


def test_values_do_not_depend_on_the_batch():
    velocity = lambda z, gamma: jnp.cos(3.0 * z)  # noqa: E731
    batches = [opened(NonTrainable(), tiny.images(7), velocity=velocity, batch_size=size) for size in (2, 7)]
    found, expected = (measure_model_rates(run, np.linspace(-3, 3, 3)) for run in batches)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(np.unique(expected)) == expected.size


def test_the_price_of_standard_normal_data():
    """x_t = α² x, γ from -13.3 to 5: 0.0888 bits/dim by a fine sum."""
    fine = np.linspace(-13.3, 5.0, 20_001)
    expected = np.trapezoid(gaussian_rates(np.ones(1), fine), fine) / np.log(2)
    assert expected == pytest.approx(0.089, abs=5e-4)
    gamma, ends = np.linspace(-13.3, 5.0, 41), dict.fromkeys(("trained", "identity"), Ends(*np.zeros((3, 2))))
    effects = ByGamma(gamma, *np.ones((3, 2, 41)), np.zeros((1, 2, 2, 1)), *np.zeros((2, 1, 41, 2, 2, 1)))
    rates = np.outer([0.5, 1.5], gaussian_rates(np.ones(DIMS), gamma))
    found = summarize(effects, rates, "derivative head", ends, {}, DIMS)
    assert found.price == pytest.approx([expected, expected / 2], rel=1e-4)
    areas = np.trapezoid([[row["price"], row["price_se"]] for row in found.rows], gamma, axis=0)
    np.testing.assert_allclose(areas, [expected, expected / 2], rtol=1e-4)
