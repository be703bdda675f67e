"""What an encoder does by γ: against closed forms, differences of x_t itself, theory, and itself in other batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.encoder_study.by_gamma import AMOUNTS, SQUARES, by_gamma, table
from diffenc_jax.train import sharding
from tests import tiny
from tests.diffusion.test_losses import exact_velocity
from tests.encoder_study.models import GAMMA_0, GAMMA_1, X_HAT, Formula
from tests.test_by_time import DoubledNonTrainable, assert_mean, nontrainable_errors

IMAGES = tiny.images(7)
X = (2.0 * IMAGES + 1.0) / tiny.LEVELS - 1.0
WAVE = Trainable(lambda x, gamma: jnp.sin(align(gamma, x) + 2.0 * x))


def look(model, images=IMAGES, **options):
    return by_gamma(model, {}, images, sharding.make_mesh(), **{"batch_size": 4, **options})


def column(rows, name):
    return np.array([row[name] for row in rows])


@pytest.fixture(scope="module")
def nontrainable():
    return look(Formula(NonTrainable()), gammas=6, keep=2)


def nontrainable_by_hand():
    """(γ, each value of `ByGamma` [N, G, ...] pixel by pixel) with x_t = α² x, so dx_t/dλ = α² σ² x."""
    gamma = np.linspace(GAMMA_0, GAMMA_1, 6)
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
    rows = table(nontrainable)
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
    """Maps are means over all images, and over no image that only fills a batch."""
    gamma, expected = nontrainable_by_hand()
    for name in AMOUNTS:
        np.testing.assert_allclose(getattr(nontrainable, f"{name}_map"), expected[name].mean(axis=0), rtol=1e-3)
    alpha2 = (1 / (1 + np.exp(gamma))).reshape(6, 1, 1, 1)
    np.testing.assert_allclose(nontrainable.x, X[:2], atol=1e-6)
    np.testing.assert_allclose(nontrainable.x_t, alpha2 * X[:2, None], atol=1e-6)
    np.testing.assert_allclose(nontrainable.dx_t, alpha2 * (alpha2 - 1) * X[:2, None], atol=1e-6)
    assert nontrainable.x_rms == pytest.approx(np.sqrt(np.mean(X**2)))


def test_the_derivative_is_that_of_x_t():
    seen = look(Formula(WAVE), gammas=400, keep=7)
    slopes = (seen.x_t[:, 2:] - seen.x_t[:, :-2]) / (seen.gamma[2:] - seen.gamma[:-2]).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(seen.dx_t[:, 1:-1], slopes, atol=1e-3)
    root = np.sqrt(np.square(slopes).mean(axis=(0, 2, 3, 4)))
    np.testing.assert_allclose(column(table(seen), "derivative")[1:-1], root, rtol=2e-3)


def test_what_is_added_and_removed_adds_up_to_the_change():
    seen = look(Formula(WAVE), gammas=5, keep=7)
    change = seen.x_t - seen.x[:, None]
    np.testing.assert_allclose(seen.added - seen.removed, change.mean(axis=(2, 3, 4)), atol=1e-6)
    np.testing.assert_allclose(seen.added + seen.removed, np.abs(change).mean(axis=(2, 3, 4)), atol=1e-6)
    np.testing.assert_allclose(seen.added_map - seen.removed_map, change.mean(axis=0), atol=1e-6)


def test_the_residual_of_the_best_model_of_gaussian_data():
    """The mean of dx_t/dλ - σ² x̂ = σ² (x_t - x̂), squared, is σ⁴ Var[x_t | z_t]."""
    model = Formula(DoubledNonTrainable(), (4, 4, 1), 2, exact_velocity(lambda gamma: jax.nn.sigmoid(-gamma)))
    seen = look(
        model, np.random.RandomState(0).randint(0, 2, (800, 4, 4, 1)).astype(np.uint8), gammas=4, batch_size=400
    )
    sigma2 = 1 / (1 + np.exp(-seen.gamma))
    assert_mean(seen.residual[None], sigma2**3 * nontrainable_errors(seen.gamma)[0], 0.05)


def test_values_do_not_depend_on_the_batch():
    """Nor on other images, as long as an image keeps its place."""
    model = Formula(WAVE, predict_v=lambda z, gamma: jnp.cos(3.0 * z))
    whole, parts = (look(model, gammas=3, keep=5, batch_size=size) for size in (7, 2))
    fewer = look(model, IMAGES[:5], gammas=3, keep=5, batch_size=3)
    for name, value in whole._asdict().items():
        np.testing.assert_allclose(getattr(parts, name), value, rtol=1e-5, atol=1e-6)
    for name in (*SQUARES, *AMOUNTS):
        np.testing.assert_allclose(getattr(fewer, name), getattr(whole, name)[:5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fewer.x_t, whole.x_t, atol=1e-6)
    assert len(np.unique(whole.residual)) == whole.residual.size


def test_all_of_the_work_is_told():
    shares = []
    look(Formula(NonTrainable()), gammas=3, keep=99, on_batch=shares.append)
    np.testing.assert_allclose(shares, np.arange(1, 7) / 6)
