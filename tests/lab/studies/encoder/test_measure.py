"""Effects of an encoder by γ: against closed forms, differences of x_t, theory, and themselves in other batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.lab.studies.encoder.measure import measure_by_gamma
from diffenc_jax.lab.studies.encoder.table import AMOUNTS, SQUARES, tabulate
from tests import tiny
from tests.diffusion.test_losses import exact_velocity
from tests.lab.studies import runs

IMAGES = tiny.images(7)
X = (2.0 * IMAGES + 1.0) / tiny.LEVELS - 1.0
X_HAT = 0.3
GAMMA_ENDS = -7.0, 5.0
WAVE = Trainable(lambda x, gamma: jnp.sin(align(gamma, x) + 2.0 * x))


def measured(encoder, images=IMAGES, velocity=None, levels=tiny.LEVELS, batch_size=4, gammas=3, keep=0, **options):
    velocity = velocity or runs.constant_image(X_HAT)
    model = runs.formula_model(encoder, velocity, GAMMA_ENDS, pixel_levels=levels)
    return measure_by_gamma(runs.opened(model, images, batch_size=batch_size), gammas, keep, **options)


def column(rows, name):
    return np.array([row[name] for row in rows])


@pytest.fixture(scope="module")
def nontrainable():
    return measured(NonTrainable(), gammas=6, keep=2)


def nontrainable_by_hand():
    """(γ, each value of `ByGamma` [N, G, ...] per pixel) with x_t = α² x, so dx_t/dλ = α² σ² x."""
    gamma = np.linspace(*GAMMA_ENDS, 6)
    x, at = X[:, None], gamma.reshape(6, 1, 1, 1)
    alpha2, sigma2 = 1 / (1 + np.exp(at)), 1 / (1 + np.exp(-at))
    return gamma, {
        "difference": np.square(sigma2 * x),
        "derivative": np.square(alpha2 * sigma2 * x),
        "residual": np.square(sigma2 * (alpha2 * x - X_HAT)),
        "added": np.maximum(-sigma2 * x, 0),
        "removed": np.maximum(sigma2 * x, 0),
    }


def test_every_column_of_the_nontrainable_encoder(nontrainable):
    gamma, expected = nontrainable_by_hand()
    rows = tabulate(nontrainable)
    np.testing.assert_allclose(column(rows, "gamma"), gamma)
    for name in (*SQUARES, *AMOUNTS):
        by_image = expected[name].mean(axis=(2, 3, 4))
        np.testing.assert_allclose(getattr(nontrainable, name), by_image, rtol=1e-3)
        mean, error = by_image.mean(axis=0), by_image.std(axis=0, ddof=1) / np.sqrt(7)
        if name in SQUARES:
            mean, error = np.sqrt(mean), error / (2 * np.sqrt(mean))
        np.testing.assert_allclose(column(rows, name), mean, rtol=1e-3)
        np.testing.assert_allclose(column(rows, f"{name}_se"), error, rtol=3e-3)


def test_the_images_of_the_nontrainable_encoder(nontrainable):
    """Maps are means over all images, without those that only fill a batch."""
    gamma, expected = nontrainable_by_hand()
    for name in AMOUNTS:
        np.testing.assert_allclose(getattr(nontrainable, f"{name}_map"), expected[name].mean(axis=0), rtol=1e-3)
    alpha2 = (1 / (1 + np.exp(gamma))).reshape(6, 1, 1, 1)
    np.testing.assert_allclose(nontrainable.x, X[:2], atol=1e-6)
    np.testing.assert_allclose(nontrainable.x_t, alpha2 * X[:2, None], atol=1e-6)
    np.testing.assert_allclose(nontrainable.dx_t, alpha2 * (alpha2 - 1) * X[:2, None], atol=1e-6)
    assert nontrainable.x_rms == pytest.approx(np.sqrt(np.mean(X**2)))


def test_the_derivative_is_that_of_x_t():
    effects = measured(WAVE, gammas=400, keep=7)
    slopes = (effects.x_t[:, 2:] - effects.x_t[:, :-2]) / (effects.gamma[2:] - effects.gamma[:-2]).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(effects.dx_t[:, 1:-1], slopes, atol=1e-3)
    root = np.sqrt(np.square(slopes).mean(axis=(0, 2, 3, 4)))
    np.testing.assert_allclose(column(tabulate(effects), "derivative")[1:-1], root, rtol=2e-3)


def test_added_and_removed_amounts_sum_to_the_change():
    effects = measured(WAVE, gammas=5, keep=7)
    change = effects.x_t - effects.x[:, None]
    np.testing.assert_allclose(effects.added - effects.removed, change.mean(axis=(2, 3, 4)), atol=1e-6)
    np.testing.assert_allclose(effects.added + effects.removed, np.abs(change).mean(axis=(2, 3, 4)), atol=1e-6)
    np.testing.assert_allclose(effects.added_map - effects.removed_map, change.mean(axis=0), atol=1e-6)


def test_the_residual_of_the_best_model_of_gaussian_data():
    """The mean of dx_t/dλ - σ² x̂ = σ² (x_t - x̂), squared, is σ⁴ Var[x_t | z_t]."""
    velocity = exact_velocity(lambda gamma: jax.nn.sigmoid(-gamma))
    images = runs.binary_images(800)
    effects = measured(runs.DoubledNonTrainable(), images, velocity, levels=2, batch_size=400, gammas=4)
    sigma2 = 1 / (1 + np.exp(-effects.gamma))
    runs.assert_mean(effects.residual[None], sigma2**3 * runs.nontrainable_errors(effects.gamma)[0], 0.05)


def test_values_do_not_depend_on_the_batch():
    """They do not depend on other images either, as long as an image keeps its position."""
    options = dict(velocity=lambda z, gamma: jnp.cos(3.0 * z), keep=5)
    whole, parts = (measured(WAVE, batch_size=size, **options) for size in (7, 2))
    fewer = measured(WAVE, IMAGES[:5], batch_size=3, **options)
    for name, value in whole._asdict().items():
        np.testing.assert_allclose(getattr(parts, name), value, rtol=1e-5, atol=1e-6)
    for name in (*SQUARES, *AMOUNTS):
        np.testing.assert_allclose(getattr(fewer, name), getattr(whole, name)[:5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fewer.x_t, whole.x_t, atol=1e-6)
    assert len(np.unique(whole.residual)) == whole.residual.size


def test_all_parts_of_the_work_are_reported():
    parts = []
    measured(NonTrainable(), keep=99, on_part=parts.append)
    np.testing.assert_allclose(parts, np.full(6, 1 / 6))
