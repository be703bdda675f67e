"""Effects of an encoder by γ: against closed forms, differences of x_t, theory, and themselves in other batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.encoders import NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.lab.studies.encoder.ends import Ends
from diffenc_jax.lab.studies.encoder.measure import even_places, measure_by_gamma, summarize
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


def columns(effects):
    """The columns of a result's rows, without a price."""
    one = Ends(*np.zeros((3, 2)))
    rows = summarize(effects, None, "", {"trained": one, "identity": one}, {}, 16).rows
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


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
    }


def test_every_column_of_the_nontrainable_encoder(nontrainable):
    gamma, expected = nontrainable_by_hand()
    found = columns(nontrainable)
    np.testing.assert_allclose(found["gamma"], gamma)
    for name in expected:
        by_image = expected[name].mean(axis=(2, 3, 4))
        np.testing.assert_allclose(getattr(nontrainable, name), by_image, rtol=1e-3)
        root, error = np.sqrt(by_image.mean(axis=0)), by_image.std(axis=0, ddof=1) / np.sqrt(7)
        np.testing.assert_allclose(found[name], root, rtol=1e-3)
        np.testing.assert_allclose(found[f"{name}_se"], error / (2 * root), rtol=3e-3)


def test_the_images_of_the_nontrainable_encoder(nontrainable):
    gamma, _ = nontrainable_by_hand()
    alpha2 = (1 / (1 + np.exp(gamma))).reshape(6, 1, 1, 1)
    np.testing.assert_allclose(nontrainable.x, X[:2], atol=1e-6)
    np.testing.assert_allclose(nontrainable.x_t, alpha2 * X[:2, None], atol=1e-6)
    np.testing.assert_allclose(nontrainable.dx_t, alpha2 * (alpha2 - 1) * X[:2, None], atol=1e-6)


def test_the_derivative_is_that_of_x_t():
    effects = measured(WAVE, gammas=400, keep=7)
    slopes = (effects.x_t[:, 2:] - effects.x_t[:, :-2]) / (effects.gamma[2:] - effects.gamma[:-2]).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(effects.dx_t[:, 1:-1], slopes, atol=1e-3)
    root = np.sqrt(np.square(slopes).mean(axis=(0, 2, 3, 4)))
    np.testing.assert_allclose(columns(effects)["derivative"][1:-1], root, rtol=2e-3)


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
    for name in ("difference", "derivative", "residual"):
        np.testing.assert_allclose(getattr(fewer, name), getattr(whole, name)[:5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fewer.x_t, whole.x_t, atol=1e-6)
    assert len(np.unique(whole.residual)) == whole.residual.size


def test_images_are_drawn_at_places_between_which_x_t_moves_equally_far():
    """x_t = α² x moves by the change of α²; one that never moves has places evenly spaced in γ."""
    effects = measured(NonTrainable(), gammas=400)
    alpha2 = 1 / (1 + np.exp(effects.gamma[even_places(effects, 5)]))
    np.testing.assert_allclose(-np.diff(alpha2), (alpha2[0] - alpha2[-1]) / 4, rtol=0.02)
    assert even_places(effects._replace(derivative=0 * effects.derivative), 4) == pytest.approx(
        [100, 200, 299, 399], abs=1
    )
