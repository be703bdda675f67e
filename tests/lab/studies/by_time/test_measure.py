"""The loss by time against closed forms for Gaussian data, the model's bound, and itself in other batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.losses import Noise, bound_at
from diffenc_jax.diffusion.schedules import FixedLinear, FixedPoly10
from diffenc_jax.lab.studies.by_time.measure import draw_noise, measure_loss_by_time
from diffenc_jax.model import ImageSpec, build
from tests import tiny
from tests.diffusion.test_losses import GAMMA_0, GAMMA_1, exact_velocity
from tests.lab.studies import runs

SHAPE, CELLS = (4, 4, 1), 6
DIMS = 16


def identity_errors(gamma):
    """E of (v - v̂)² and of the squared residual per dimension: with x̂ = α z, v - v̂ = α ε - σ x."""
    return np.ones_like(gamma), np.zeros_like(gamma)


# encoder, x_t / x, errors, (error of the loss / velocity error)², the bound's diffusion term per dimension
CASES = {
    "identity": (runs.DoubledIdentity(), jnp.ones_like, identity_errors, lambda sigma2: 1.0, 6.646643),
    # Both errors are parallel: together they are (1 + σ²) times v - v̂.
    "nontrainable": (
        runs.DoubledNonTrainable(),
        lambda gamma: jax.nn.sigmoid(-gamma),
        runs.nontrainable_errors,
        lambda sigma2: (1 + sigma2) ** 2,
        6.711451,
    ),
}


@pytest.fixture(
    scope="module",
    params=[("identity", FixedLinear), ("nontrainable", FixedPoly10)],
    ids=["identity", "nontrainable"],
)
def gaussian(request):
    """A case, its schedule, and its loss by time on 1,000 images with 2 draws each."""
    case, schedule = CASES[request.param[0]], request.param[1]
    ends = GAMMA_0, GAMMA_1
    model = runs.formula_model(case[0], exact_velocity(case[1]), ends, SHAPE, pixel_levels=2, schedule=schedule)
    run = runs.opened(model, runs.binary_images(1000), batch_size=250)
    values = measure_loss_by_time(run, CELLS, num_draws=2)
    return case, model.process.gamma, values


def test_gaussian_data_costs_in_each_cell_what_theory_says(gaussian):
    (_, _, errors, factor, _), schedule, got = gaussian
    t = (np.arange(CELLS * 1000).reshape(CELLS, 1000) + 0.5) / (CELLS * 1000)
    with jax.enable_x64(True):
        gamma, dgamma = (np.asarray(a) for a in jax.jvp(schedule, (jnp.asarray(t),), (jnp.ones(t.shape),)))
    sigma2 = 1 / (1 + np.exp(-gamma))
    velocity, residual = errors(gamma)
    diffusion = 0.5 * dgamma * (1 - sigma2) * velocity * factor(sigma2)
    runs.assert_mean(got.velocity, DIMS * velocity.mean(axis=1), 0.05)
    runs.assert_mean(got.residual, DIMS * residual.mean(axis=1), 0.05)
    runs.assert_mean(got.diffusion, DIMS * diffusion.mean(axis=1), 0.05)


def test_the_area_is_the_bounds_term_whatever_the_schedule(gaussian):
    (*_, term), _, got = gaussian
    per_image = got.diffusion.mean(axis=2, keepdims=True)
    runs.assert_mean(per_image, DIMS * term, 0.005)
    area = (got.diffusion.mean(axis=(0, 1)) / got.dgamma) @ np.diff(got.edges)
    assert area == pytest.approx(got.diffusion.mean())


def test_cells_lie_where_the_schedule_puts_them(gaussian):
    _, schedule, got = gaussian
    np.testing.assert_allclose(got.t, (np.arange(CELLS) + 0.5) / CELLS)
    np.testing.assert_allclose(got.gamma, schedule(jnp.asarray(got.t, jnp.float32)), rtol=1e-5)
    np.testing.assert_allclose(got.edges, schedule(jnp.arange(CELLS + 1) / CELLS), rtol=1e-5)


@pytest.fixture(scope="module")
def trained():
    """A model with no parameter at zero, and its parameters."""
    model = build(tiny.config("diffenc", small=True), ImageSpec(SHAPE, tiny.LEVELS))
    return model, tiny.away_from_zero(tiny.initial(model))


@pytest.fixture(scope="module")
def values(trained):
    model, params = trained
    return measure_loss_by_time(runs.opened(model, tiny.images(7), params), cells=3, num_draws=2, seed=5)


def test_the_loss_is_that_of_the_models_bound(trained, values):
    model, params = trained
    pixels = jnp.asarray(tiny.images(7))

    @jax.jit
    def diffusion(params, t, eps):
        return bound_at(model.bind(params), pixels, model.place(params, t), Noise(t, eps, eps)).diffusion

    for draw, cell in ((0, 0), (0, 2), (1, 1)):
        t, eps = draw_noise(5, 3, SHAPE, jnp.arange(7), jnp.int32(draw), jnp.int32(cell))
        np.testing.assert_allclose(values.diffusion[draw, :, cell], diffusion(params, t, eps), rtol=1e-4)


def test_values_do_not_depend_on_the_batch(trained, values):
    """They do not depend on other images either, as long as an image keeps its position."""
    model, params = trained
    run = runs.opened(model, tiny.images(7)[:5], params, batch_size=2)
    got = measure_loss_by_time(run, cells=3, num_draws=2, seed=5)
    for name in ("diffusion", "velocity", "residual"):
        np.testing.assert_allclose(getattr(got, name), getattr(values, name)[:, :5], rtol=1e-4)


def test_noise_depends_on_the_image_and_times_fill_their_cell():
    indices = jnp.arange(400)
    t, eps = draw_noise(0, 8, (2,), indices, jnp.int32(1), jnp.int32(3))
    alone_t, alone_eps = draw_noise(0, 8, (2,), indices[7:8], jnp.int32(1), jnp.int32(3))
    np.testing.assert_array_equal(alone_t, t[7:8])
    np.testing.assert_array_equal(alone_eps, eps[7:8])
    counts, _ = np.histogram(t, bins=4, range=(3 / 8, 4 / 8))
    assert counts.sum() == 400
    assert np.abs(counts - 100).max() < 5 * np.sqrt(75)
    for seed, draw, cell in ((0, 1, 2), (0, 0, 3), (0, 3, 1), (1, 1, 3)):
        other_t, other_eps = draw_noise(seed, 8, (2,), indices, jnp.int32(draw), jnp.int32(cell))
        assert np.mean((other_t * 8) % 1 == (t * 8) % 1) < 0.01
        assert np.mean(other_eps == eps) < 0.01
