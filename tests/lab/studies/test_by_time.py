"""The loss by time against closed forms for Gaussian data and the model's bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffenc_jax as dj
from diffenc_jax.diffusion.schedules import FixedLinear, FixedPoly10
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.by_time import CellLosses, measure_loss_by_time, summarize
from tests.diffusion.formulas import GAMMA_0, GAMMA_1, exact_velocity
from tests.lab.studies import runs

CELLS, DIMS = 6, 16


def identity_errors(gamma):
    """E of (v - v̂)² and of the squared residual per dimension: with x̂ = α z, v - v̂ = α ε - σ x."""
    return np.ones_like(gamma), np.zeros_like(gamma)


# encoder, schedule, x_t / x, errors, (error of the loss / velocity error)², the bound's diffusion term per dimension
CASES = {
    "identity": (runs.DoubledIdentity(), FixedLinear, jnp.ones_like, identity_errors, lambda sigma2: 1.0, 6.646643),
    # Both errors are parallel: together they are (1 + σ²) times v - v̂.
    "nontrainable": (
        runs.DoubledNonTrainable(),
        FixedPoly10,
        lambda gamma: jax.nn.sigmoid(-gamma),
        runs.nontrainable_errors,
        lambda sigma2: (1 + sigma2) ** 2,
        6.711451,
    ),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def gaussian(request):
    """A case, its γ of t, and its loss by time on 1,000 images with 2 draws each."""
    encoder, schedule, factor, *_ = request.param
    model = runs.model_of(encoder, exact_velocity(factor), (GAMMA_0, GAMMA_1), pixel_levels=2, schedule=schedule)
    run = runs.opened(model, runs.binary_images(1000), batch_size=250)
    return request.param, model.bind({}).gamma, measure_loss_by_time(run, CELLS, num_draws=2)


def test_gaussian_data_costs_in_each_cell_what_theory_says(gaussian):
    (*_, errors, factor, _), schedule, got = gaussian
    t = (np.arange(CELLS * 1000).reshape(CELLS, 1000) + 0.5) / (CELLS * 1000)
    with jax.enable_x64(True):
        gamma, dgamma = map(np.asarray, jax.jit(lambda t: jax.jvp(schedule, (t,), (jnp.ones_like(t),)))(t))
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
    assert summarize(got, DIMS).area == pytest.approx(got.diffusion.mean() / (DIMS * np.log(2)))


def test_a_summary_averages_cells_over_draws_and_images():
    """Two draws at two images in two cells of widths 1 and 3 in γ, with two dimensions."""
    nats = np.array([[[4.0, 8.0], [0.0, 4.0]], [[4.0, 16.0], [8.0, 4.0]]]) * np.log(2)
    values = CellLosses(*map(np.array, ([0.25, 0.75], [-0.5, 1.0], [-1.0, 0.0, 3.0])), nats, nats, 0 * nats)
    found = summarize(values, dims=2)
    # Means of the draws by image are [4, 12] and [4, 4] bits; γ' is 2 and 6.
    first, second = found.rows
    assert (first["diffusion"], first["diffusion_se"]) == pytest.approx((1.0, 0.0))
    assert (second["diffusion"], second["diffusion_se"]) == pytest.approx((8 / 12, 4 / 12))
    assert second["velocity"] == pytest.approx(4 * np.log(2))
    assert found.sentence() == "area 3.0000 ± 1.0000 bits/dim of diffusion loss"
    assert found.tables()[0].rows == [["3.0000", "1.0000"]]


def test_the_study_is_of_all_images(home):
    values = measure_loss_by_time(dj.open(home / "vdm"), cells=4, num_draws=2)
    assert values.diffusion.shape == (2, 13, 4)
    assert studies.measure("loss-by-time", home / "vdm", cells=4, draws=2).result == summarize(values, 16)
