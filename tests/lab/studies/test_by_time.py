"""Studies of the bound: by time against closed forms, at finite depths, and given labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffenc_jax as dj
from diffenc_jax.__main__ import main
from diffenc_jax.diffusion.schedules import FixedLinear, FixedPoly10
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.by_time import CellLosses, measure_loss_by_time, summarize
from diffenc_jax.lab.studies.depth import Arguments, excess_of, steps_of
from diffenc_jax.runs.records import Evaluation, read_evaluation
from tests import refusals
from tests.diffusion.formulas import GAMMA_0, GAMMA_1, exact_velocity
from tests.evaluation.gaussian import PARAMS, run_of_classes
from tests.lab.studies import runs
from tests.stored_runs import trained

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


CHOICES = Arguments().choices


def evaluation(bits, replicates):
    return Evaluation(None, {"estimator": {"replicates": replicates}}, np.array(bits))


def test_excess_and_the_part_that_is_kept():
    """Made-up values at the depths 5 and 10, with errors paired by image.

    The differences by image are 0.1, 0.1 and -0.2 around their mean, with a variance of 0.03.
    """
    infinite = evaluation([[1.9, 1.9, 2.2], [1.9, 1.9, 2.2]], 2)
    bpd = dict(zip(CHOICES, (3.0, 2.5, 2.4, 2.25, 2.3, 2.125), strict=True))
    bits = {(depth, name): 2 + (one - 2) * 10 / depth for depth in (5, 10) for name, one in bpd.items()}
    found = excess_of(infinite, {key: evaluation([[one] * 3], None) for key, one in bits.items()})
    for row, ((depth, name), one) in zip(found.rows, bits.items(), strict=True):
        assert (row["depth"], row["choice"]) == (depth, name)
        assert (row["excess"], row["kept"], row["excess_se"]) == pytest.approx((one - 2, bpd[name] - 2, 0.1))
    (table,) = found.tables()
    assert table.rows[8] == [10, "optimal_pixel", "2.4000", "0.4000 ± 0.1000", "0.40"]
    assert table.caption.endswith("; infinite depth: 2.0000")
    assert found.sentence() == "excess kept at T=10: 0.12"


def test_records_hold_what_was_measured(home):
    options = {"depths": (3,), "choices": ("optimal_pixel",), "passes": 4}
    result = studies.measure("depth-study", home / "vdm", {"eval.seed": 7, "fit.images": 8}, **options).result
    evaluations = [read_evaluation(path) for path in (home / "vdm" / "depth-records").glob("*.json")]
    assert {one.record["estimator"]["seed"] for one in evaluations} == {7}
    assert {one.record["estimator"]["fit"]["images"] for one in evaluations if "fit" in one.record["estimator"]} == {8}
    by_steps = {}
    for one in evaluations:
        estimator = one.record["estimator"]
        by_steps[estimator["depth"], estimator.get("times", "uniform"), estimator["variance_ratio"]] = one
    infinite = by_steps.pop((None, "uniform", 1.0))
    assert len(by_steps) == 2
    assert result == excess_of(infinite, {(3, name): by_steps[3, *steps_of(name)] for name in ("1", "optimal_pixel")})
    assert steps_of("optimal_pixel+times") == ("optimal", "optimal_pixel")


def test_a_choice_that_needs_a_head_is_refused(home, capsys):
    error = refusals.refused(main, ["depth-study", home / "vdm", "--choices=learned_error"], capsys)
    assert "loss.variance_ratio=learned_error needs the error head" in error


def test_the_loss_by_time_adds_up_to_the_diffusion_term():
    run = trained(run_of_classes(eval__time_sampling="uniform", eval__passes=64), PARAMS)
    record = Evaluator(run).evaluate(run.params)
    nats = measure_loss_by_time(run, cells=20, num_draws=4).diffusion
    bits = nats.mean(axis=2) / (2 * np.log(2))
    error = np.hypot(record["standard_error"]["terms"]["diffusion"]["noise"], bits.std() / np.sqrt(bits.size))
    assert bits.mean() == pytest.approx(record["bpd"]["diffusion"], abs=4 * error)
