"""The loss by time: against closed forms for Gaussian data, the model's own bound, and itself in other batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.by_time import by_time, draw_noise
from diffenc_jax.diffusion.encoders import Identity, NonTrainable
from diffenc_jax.diffusion.losses import Noise
from diffenc_jax.diffusion.schedules import FixedLinear, FixedPoly10
from diffenc_jax.model import ImageSpec, Model, build
from diffenc_jax.train import sharding
from tests import tiny
from tests.diffusion.test_losses import GAMMA_0, GAMMA_1, exact_velocity

SHAPE, CELLS = (4, 4, 1), 6
DIMS = 16


class Doubled:
    """Mixed into an encoder: it sees two levels, ±½, as ±1, whose square is that of N(0, 1) on average."""

    def mean_and_slope(self, x, gamma):
        return super().mean_and_slope(2.0 * x, gamma)


class DoubledIdentity(Doubled, Identity):
    pass


class DoubledNonTrainable(Doubled, NonTrainable):
    pass


class Exact:
    """The best model of N(0, 1): the loss is quadratic in (x, ε), so ±1 cost it as much as normal data."""

    spec = ImageSpec(SHAPE, 2)
    instant = Model.instant

    def __init__(self, encoder, factor, schedule):
        self._encoder, self._factor, self._schedule = encoder, factor, schedule

    def encoder(self, params):
        return self._encoder

    def predict_v(self, params):
        return exact_velocity(self._factor)

    def gamma(self, params):
        return lambda t: self._schedule.apply({}, t)


def identity_errors(gamma):
    """E of (v - v̂)² and of the residual's square, a dimension: here x̂ = α z, so v - v̂ = α ε - σ x."""
    return np.ones_like(gamma), np.zeros_like(gamma)


def nontrainable_errors(gamma):
    """With x_t = α² x: E(v - v̂)² = Var[x_t | z] / σ² = α⁴ / (α⁶ + σ²), and the residual is σ (x̂ - x_t)."""
    alpha2, sigma2 = 1 / (1 + np.exp(gamma)), 1 / (1 + np.exp(-gamma))
    velocity = alpha2**2 / (alpha2**3 + sigma2)
    return velocity, sigma2**2 * velocity


CASES = {
    # k = 0; the errors of the non-trainable encoder are parallel: together they are (1 + σ²) times v - v̂.
    "identity": (DoubledIdentity(), jnp.ones_like, identity_errors, lambda sigma2: 1.0, 6.646643),
    "nontrainable": (
        DoubledNonTrainable(),
        lambda gamma: jax.nn.sigmoid(-gamma),
        nontrainable_errors,
        lambda sigma2: (1 + sigma2) ** 2,
        6.711451,
    ),
}
SCHEDULES = {"fixed_linear": FixedLinear(GAMMA_0, GAMMA_1), "fixed_poly10": FixedPoly10(GAMMA_0, GAMMA_1)}


@pytest.fixture(scope="module", params=[("identity", "fixed_linear"), ("nontrainable", "fixed_poly10")], ids=str)
def gaussian(request):
    """A case, its schedule, and its loss by time on 1,000 images, 2 looks at each."""
    case, schedule = CASES[request.param[0]], SCHEDULES[request.param[1]]
    images = np.random.RandomState(0).randint(0, 2, (1000, *SHAPE)).astype(np.uint8)
    model = Exact(*case[:2], schedule)
    return case, schedule, by_time(model, {}, images, sharding.make_mesh(), CELLS, looks=2, batch_size=250)


def assert_mean(draws, expected, precision):
    """The mean of independent `draws` [looks, images, ...] is as expected, and known to a part `precision`."""
    error = draws.std(axis=(0, 1)) / np.sqrt(draws.shape[0] * draws.shape[1])
    assert np.all(error <= precision * np.abs(expected))
    assert np.all(np.abs(draws.mean(axis=(0, 1)) - expected) <= 5 * error + 1e-5)


def test_gaussian_data_costs_in_each_cell_what_theory_says(gaussian):
    (_, _, errors, factor, _), schedule, got = gaussian
    t = (np.arange(CELLS * 1000).reshape(CELLS, 1000) + 0.5) / (CELLS * 1000)
    with jax.enable_x64(True):
        gamma, dgamma = (
            np.asarray(a) for a in jax.jvp(lambda t: schedule.apply({}, t), (jnp.asarray(t),), (jnp.ones(t.shape),))
        )
    sigma2 = 1 / (1 + np.exp(-gamma))
    velocity, residual = errors(gamma)
    diffusion = 0.5 * dgamma * (1 - sigma2) * velocity * factor(sigma2)
    assert_mean(got.velocity, DIMS * velocity.mean(axis=1), 0.05)
    assert_mean(got.residual, DIMS * residual.mean(axis=1), 0.05)
    assert_mean(got.diffusion, DIMS * diffusion.mean(axis=1), 0.05)


def test_the_area_is_the_bounds_term_whatever_the_schedule(gaussian):
    (*_, term), _, got = gaussian
    per_image = got.diffusion.mean(axis=2, keepdims=True)
    assert_mean(per_image, DIMS * term, 0.005)
    area = (got.diffusion.mean(axis=(0, 1)) / got.dgamma) @ np.diff(got.edges)
    assert area == pytest.approx(got.diffusion.mean())


def test_cells_lie_where_the_schedule_puts_them(gaussian):
    _, schedule, got = gaussian
    np.testing.assert_allclose(got.t, (np.arange(CELLS) + 0.5) / CELLS)
    np.testing.assert_allclose(got.gamma, schedule.apply({}, jnp.asarray(got.t)), rtol=1e-5)
    np.testing.assert_allclose(got.edges, schedule.apply({}, jnp.arange(CELLS + 1) / CELLS), rtol=1e-5)


def test_the_identity_has_no_residual(gaussian):
    (encoder, *_), _, got = gaussian
    assert np.all((got.residual > 0) == encoder.drifts)


@pytest.fixture(scope="module")
def trained():
    """A model none of whose parameters is zero."""
    model = build(tiny.config("diffenc"), ImageSpec(SHAPE, tiny.LEVELS))
    rng = np.random.RandomState(0)
    params = jax.jit(model.init)(jax.random.key(0))
    return model, jax.tree.map(lambda p: p + 0.05 * rng.normal(size=p.shape).astype(np.float32), params)


@pytest.fixture(scope="module")
def values(trained):
    return by_time(*trained, tiny.images(7), sharding.make_mesh(), cells=3, looks=2, seed=5, batch_size=7)


def test_the_loss_is_that_of_the_models_bound(trained, values):
    model, params = trained
    pixels, terms = jnp.asarray(tiny.images(7)), jax.jit(model.terms)
    for look, cell in ((0, 0), (0, 2), (1, 1)):
        t, eps = draw_noise(5, 3, SHAPE, jnp.arange(7), jnp.int32(cell), jnp.int32(look))
        expected = terms(params, pixels, Noise(t, eps, eps)).diffusion
        np.testing.assert_allclose(values.diffusion[look, :, cell], expected, rtol=1e-4)


def test_values_do_not_depend_on_the_batch(trained, values):
    """Nor on other images, as long as an image keeps its place."""
    got = by_time(*trained, tiny.images(7)[:5], sharding.make_mesh(), cells=3, looks=2, seed=5, batch_size=2)
    for name in ("diffusion", "velocity", "residual"):
        np.testing.assert_allclose(getattr(got, name), getattr(values, name)[:, :5], rtol=1e-4)


def test_all_of_the_work_is_told():
    shares = []
    model = Exact(DoubledIdentity(), jnp.ones_like, SCHEDULES["fixed_linear"])
    images = np.zeros((5, *SHAPE), np.uint8)
    mesh = sharding.make_mesh()
    by_time(model, {}, images, mesh, cells=2, looks=3, batch_size=2, on_batch=shares.append)
    np.testing.assert_allclose(shares, np.arange(1, 19) / 18)


def test_noise_is_an_images_own_and_times_fill_their_cell():
    indices = jnp.arange(400)
    t, eps = draw_noise(0, 8, (2,), indices, jnp.int32(3), jnp.int32(1))
    alone_t, alone_eps = draw_noise(0, 8, (2,), indices[7:8], jnp.int32(3), jnp.int32(1))
    np.testing.assert_array_equal(alone_t, t[7:8])
    np.testing.assert_array_equal(alone_eps, eps[7:8])
    counts, _ = np.histogram(t, bins=4, range=(3 / 8, 4 / 8))
    assert counts.sum() == 400
    assert np.abs(counts - 100).max() < 5 * np.sqrt(75)
    for seed, cell, look in ((0, 2, 1), (0, 3, 0), (0, 1, 3), (1, 3, 1)):
        other_t, other_eps = draw_noise(seed, 8, (2,), indices, jnp.int32(cell), jnp.int32(look))
        assert np.mean((other_t * 8) % 1 == (t * 8) % 1) < 0.01
        assert np.mean(other_eps == eps) < 0.01
