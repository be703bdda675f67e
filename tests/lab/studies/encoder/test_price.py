"""The price of the drift: against closed forms, exact denoisers, and itself in other batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.data.dataset import Dataset
from diffenc_jax.diffusion.encoders import NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.process import Prediction
from diffenc_jax.lab.studies.encoder.balance import tabulate_price, totals
from diffenc_jax.lab.studies.encoder.ends import Ends
from diffenc_jax.lab.studies.encoder.linear import measure_linear_rates
from diffenc_jax.lab.studies.encoder.price import measure_model_rates
from tests import tiny
from tests.diffusion.test_losses import exact_velocity
from tests.lab.studies import runs

GAMMA_ENDS = -7.0, 5.0
GAMMA = np.linspace(*GAMMA_ENDS, 41)
DIMS = 16
WAVE = Trainable(lambda x, gamma: jnp.sin(align(gamma, x) + 2.0 * x))


def opened(encoder, train, test=None, velocity=None, levels=tiny.LEVELS, batch_size=8):
    """A run that evaluates on `test`, or on the training images."""
    model = runs.formula_model(encoder, velocity or runs.constant_image(0.0), GAMMA_ENDS, pixel_levels=levels)
    splits = {"train": train, "test": train if test is None else test}
    run = runs.opened(model, splits["test"], batch_size=batch_size)
    return dataclasses.replace(run, dataset=Dataset("made up", "1", levels, splits))


def pixel_values(images, levels=tiny.LEVELS):
    return ((2.0 * images + 1.0) / levels - 1.0).reshape(len(images), -1)


def gaussian_rates(eigenvalues, gamma=GAMMA):
    """½ e^(-γ) Σ k'² λ / (1 + e^(-γ) k² λ) for x_t = k x with k = α² and k' = -α² σ², and the same without z_γ."""
    gamma = gamma[:, None]
    k, snr = 1 / (1 + np.exp(gamma)), np.exp(-gamma)
    constant = 0.5 * snr * np.square(k * (1 - k)) * eigenvalues
    return (constant / (1 + snr * k**2 * eigenvalues)).sum(axis=1), constant.sum(axis=1)


def correlated_images(count=60):
    """Images whose covariance has eigenvalues of very different sizes."""
    smooth = np.random.RandomState(3).normal(size=(count, 16)) @ np.diag(0.6 ** np.arange(16))
    turned = smooth @ np.linalg.qr(np.random.RandomState(4).normal(size=(16, 16)))[0]
    return np.clip(np.round(8 + 4 * turned), 0, 16).astype(np.uint8).reshape(count, 4, 4, 1)


def test_the_linear_prediction_of_a_linear_encoder_is_the_closed_form():
    """Its error depends on the covariance of the images alone, so it is the one of Gaussian data."""
    images = correlated_images()
    rates = measure_linear_rates(opened(NonTrainable(), images), GAMMA)
    linear, constant = gaussian_rates(np.linalg.eigvalsh(np.cov(pixel_values(images).T, bias=True)))
    np.testing.assert_allclose(rates["linear"].mean(axis=0), linear, rtol=1e-3)
    np.testing.assert_allclose(rates["constant"].mean(axis=0), constant, rtol=1e-3)


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
    runs.assert_mean(measure_model_rates(run, gamma)[None], gaussian_rates(np.ones(DIMS), gamma)[0], 0.05)


def test_a_better_predictor_has_a_lower_price():
    """Pixels ±1: E[x_t | z_γ] = α² tanh(α³ z_γ / σ²) is better than any linear prediction, and that than a constant."""

    def velocity(z, gamma):
        alpha2, sigma2 = (align(jax.nn.sigmoid(g), z) for g in (-gamma, gamma))
        x_hat = alpha2 * jnp.tanh(alpha2**1.5 * z / sigma2)
        return (jnp.sqrt(alpha2) * z - x_hat) / jnp.sqrt(sigma2)

    run = opened(runs.DoubledNonTrainable(), runs.binary_images(800), velocity=velocity, levels=2, batch_size=400)
    gamma = np.linspace(-4, -1, 4)
    exact, linear = measure_model_rates(run, gamma), measure_linear_rates(run, gamma)
    assert np.all(exact.mean(axis=0) < 0.99 * linear["linear"].mean(axis=0))
    assert np.all(linear["linear"].mean(axis=0) < 0.99 * linear["constant"].mean(axis=0))


def test_the_linear_prediction_is_the_best_one():
    """The error is that of least squares by a solver on 400 draws of z_γ per image."""
    images, gamma = correlated_images(), np.array([-1.0, 1.5])
    rates = measure_linear_rates(opened(WAVE, images), gamma)["linear"].mean(axis=0)
    for value, rate in zip(gamma, rates, strict=True):
        shape = (len(images), 4, 4, 1)
        x_t, slope, *_ = WAVE.mean_and_slope(jnp.float32(pixel_values(images).reshape(shape)), jnp.full(60, value))
        x_t, slope = (np.tile(np.float64(array).reshape(60, DIMS), (400, 1)) for array in (x_t, slope))
        u = x_t + np.exp(value / 2) * np.random.RandomState(0).normal(size=x_t.shape)
        inputs = np.concatenate([u, np.ones((len(u), 1))], axis=1)
        error = slope - inputs @ np.linalg.lstsq(inputs, slope, rcond=None)[0]
        sigma2 = 1 / (1 + np.exp(-value))
        expected = 0.5 * sigma2 * (1 - sigma2) * np.square(error).sum(axis=1).mean()
        assert rate == pytest.approx(expected, rel=0.01)


def test_predictions_are_fitted_on_training_images():
    """The constant is the mean over them: of images of another mean it misses the difference as well."""
    train, test = correlated_images(), 16 - correlated_images()[:9]
    gamma = np.array([0.0])
    constant = measure_linear_rates(opened(NonTrainable(), train, test), gamma)["constant"]
    error = pixel_values(test) - pixel_values(train).mean(axis=0)
    np.testing.assert_allclose(constant[:, 0], 0.5 * 0.25**2 * np.square(error).sum(axis=1), rtol=1e-4)


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
    train, test, gamma = correlated_images(13), tiny.images(7), np.linspace(-3, 3, 3)
    found, expected = (measure_linear_rates(opened(WAVE, train, test, batch_size=size), gamma) for size in (2, 16))
    for name, rates in expected.items():
        np.testing.assert_allclose(found[name], rates, rtol=1e-4, atol=1e-6)
    velocity = lambda z, gamma: jnp.cos(3.0 * z)  # noqa: E731
    found, expected = (
        measure_model_rates(opened(NonTrainable(), test, velocity=velocity, batch_size=size), gamma) for size in (2, 7)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(np.unique(expected)) == expected.size


def test_the_price_of_standard_normal_data():
    """x_t = α² x, γ from -13.3 to 5: 0.0888 bits/dim by a fine sum."""
    fine = np.linspace(-13.3, 5.0, 20_001)
    expected = np.trapezoid(gaussian_rates(np.ones(1), fine)[0], fine) / np.log(2)
    assert expected == pytest.approx(0.089, abs=5e-4)
    gamma, one = np.linspace(-13.3, 5.0, 41), Ends(*np.zeros((3, 2)))
    rates = {"linear": np.outer([0.5, 1.5], gaussian_rates(np.ones(DIMS), gamma)[0])}
    found = totals(gamma, rates, {"trained": one, "identity": one}, DIMS)["price"]["linear"]
    assert found["mean"] == pytest.approx(expected, rel=1e-4)
    assert found["standard_error"] == pytest.approx(expected / 2, rel=1e-4)
    rows = tabulate_price(gamma, rates, DIMS)
    areas = np.trapezoid([[row["linear"], row["linear_se"]] for row in rows], gamma, axis=0)
    np.testing.assert_allclose(areas, [expected, expected / 2], rtol=1e-4)
