"""Steps fitted on training images, against direct averages and against the unfitted steps they must improve on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.sections import OPTIMAL, LossConfig
from diffenc_jax.diffusion.encoders import Encoded, NonTrainable
from diffenc_jax.diffusion.gaussian import Estimate, Prediction
from diffenc_jax.diffusion.losses import errors_at
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.ratios import ByErrorHead, cost, interpolate
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation import fit as fits
from diffenc_jax.evaluation.fit import Fit, StepErrors, fit_images
from tests import tiny
from tests.evaluation.subject import SPLITS, parameters, run_with

PIXELS = (2 * SPLITS["train"].astype(np.float32) + 1) / tiny.LEVELS - 1


def normal(seed, shape):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


def loss(depth, ratio=1.0, times="uniform"):
    return LossConfig(depth, "linear", ratio, times)


@pytest.fixture(scope="module")
def fit():
    return Fit(run_with(), parameters())


@jax.jit
def step_errors(x, gamma_s, gamma_t, eps):
    """u [B, H, W, C] of the step between two γ."""
    gammas = (jnp.full(len(x), gamma) for gamma in (gamma_s, gamma_t))
    return fits.squared_error(run_with().model.bind(parameters()), x, *gammas, eps)[0]


def test_costs_of_all_steps_from_one_time_are_those_of_the_loss():
    """At ratio 1, at the best ratio per step and per pixel, and at that of an error head."""

    def predict(z, gamma):
        return Prediction(jnp.sin(2.0 * z), log_error=jnp.cos(z) - 1.0)

    process = Process(NonTrainable(), predict, lambda t: -6.0 + 11.0 * t)
    x, eps = map(jnp.asarray, normal(0, (2, 12, 4, 4, 1)))

    @jax.jit
    def costs_and_expected():
        gammas = jnp.linspace(-6.0, 5.0, 4)
        means = Encoded(jnp.stack([process.encoder.mean(x, jnp.full(12, gamma)) for gamma in gammas]))
        at_0, expected = Steps(gammas, ByErrorHead()).step(0, 12), []
        for gamma in gammas[:3]:
            step = at_0._replace(gamma_s=jnp.full(12, gamma), gamma_t=jnp.full(12, gammas[3]), depth=1.0)
            errors = errors_at(process, step, x, eps)
            u = jnp.square(step.deviation(errors)).mean(axis=0)
            best = 0.5 * jnp.log1p(u).sum(), 0.5 * u.size * jnp.log1p(u.mean())
            expected.append([0.5 * u.sum(), *best, step.loss(errors).mean()])
        costs = fits.costs_to_all(process, x, gammas, means, 3, eps)
        kinds = "1", "optimal_pixel", "optimal", "learned_error"
        return jnp.stack([costs[kind][:3] for kind in kinds], axis=1), jnp.asarray(expected)

    np.testing.assert_allclose(*costs_and_expected(), rtol=1e-4)


def test_a_shared_ratio_is_the_best_for_the_mean_error(fit):
    """w* = 1/(1 + u): the tables by step, channel and pixel come from the same errors."""
    by_pixel, by_channel, by_step = (
        1 / np.asarray(fit.steps(loss(4, kind)).ratio.ratio, np.float64) - 1
        for kind in ("optimal_pixel", "optimal_channel", "optimal")
    )
    assert by_pixel.shape == (4, 4, 4, 1)
    np.testing.assert_allclose(by_channel, by_pixel.mean(axis=(1, 2), keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(by_step, by_pixel.mean(axis=(1, 2, 3), keepdims=True), rtol=1e-4)


def test_the_table_is_the_average_over_the_training_images(fit):
    steps = fit.steps(loss(3, "optimal"))
    x = np.tile(PIXELS, (24, 1, 1, 1)).reshape(40, 12, *PIXELS.shape[1:])
    eps, gamma, ratio = normal(7, x.shape), np.asarray(steps.gamma), np.asarray(steps.ratio.ratio)
    for i in range(3):
        errors = [step_errors(*batch, *gamma[i : i + 2], noise) for *batch, noise in zip(x, eps, strict=True)]
        each = np.concatenate(errors).astype(float).mean(axis=(1, 2, 3))
        fitted_u = 1 / float(ratio[i].squeeze()) - 1
        pairs = 8 * 16 // 3
        assert abs(fitted_u - each.mean()) < 5 * each.std() * np.sqrt(1 / pairs + 1 / len(each))


@pytest.mark.parametrize("ratio", [1.0, "optimal_pixel", "optimal_estimate"])
def test_best_times_cost_no_more_than_others(fit, ratio):
    """By the table that they are chosen from. Of more steps than the grid resolves, they are interpolated."""
    depth = 2
    gamma = np.asarray(fit.steps(loss(depth, ratio, "optimal")).gamma, np.float64)
    costs, grid = fit.costs["1" if ratio == 1.0 else ratio], fit.grid
    assert gamma[0] == pytest.approx(grid[0])
    assert gamma[-1] == pytest.approx(grid[-1])
    middle = int(np.abs(grid - gamma[1]).argmin())
    assert grid[middle] == pytest.approx(gamma[1], abs=1e-5)
    two_steps = costs[0, 1:-1] + costs[1:-1, -1]
    assert costs[0, middle] + costs[middle, -1] == pytest.approx(two_steps.min())
    fine = np.asarray(fit.steps(loss(50, ratio, "optimal")).gamma)
    assert np.all(np.diff(fine) > 0)
    np.testing.assert_allclose(fine[::25], gamma, rtol=1e-5)


def test_the_images_of_a_fit_are_drawn_by_its_seed():
    """All images of a small set, unless told otherwise."""
    drawn = [fit_images(run_with(fit__images=6, fit__seed=seed)).data for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.any(drawn[0] != drawn[2])
    known = {image.tobytes() for image in SPLITS["train"]}
    assert all(len({image.tobytes() for image in images} & known) == 6 for images in drawn)
    assert fits.fit_description(run_with(fit__images=None))["images"] == 20


# Variance ratios that depend on x̂, against known errors and against one ratio per pixel.
SHAPE = (4, 4, 1)


def by_estimate(x_hat):
    """A mean error that spans three orders of magnitude, most of it far from where most pixels are."""
    return 2e-3 + 2.0 * (x_hat + 1.0) ** 2


def drawn(mean_error, seed, pairs=400, steps=2):
    """Errors u = mean_error(x̂) ξ², with most x̂ near -1."""
    rng = np.random.RandomState(seed)
    x_hat = -1.0 + 2.0 * rng.beta(0.3, 2.0, (steps, pairs, *SHAPE))
    return [StepErrors(mean_error(x) * rng.normal(size=x.shape) ** 2, x) for x in x_hat]


@jax.jit
def ratio_at(ratio, step, x_hat):
    """w [P, H, W, C] of one step."""
    rows = type(ratio)(*(table[step][None] for table in ratio))
    x_hat = jnp.asarray(x_hat, jnp.float32)
    return rows(jnp.zeros(1), jnp.zeros(1), Estimate(x_hat, x_hat))


@jax.jit
def cost_at(ratio, step, errors):
    return cost(jnp.broadcast_to(ratio_at(ratio, step, errors.x_hat), errors.u.shape), errors.u).mean()


def mean_cost(ratio, steps):
    return sum(float(cost_at(ratio, i, errors)) for i, errors in enumerate(steps))


@pytest.mark.parametrize("pairs", [15, 400])
def test_the_fit_costs_little_more_than_the_best_ratio(x64, pairs):
    """On unseen errors, next to w = 1 / (1 + E u), with one ratio per pixel far above; also for few pairs."""
    fitted, unseen = drawn(by_estimate, 0, pairs), drawn(by_estimate, 1)
    mean = jax.jit(lambda w, u: cost(w, u).mean())
    best = sum(float(np.mean(0.5 * np.log1p(by_estimate(errors.x_hat)))) for errors in unseen)
    noise = sum(float(mean(1 / (1 + by_estimate(errors.x_hat)), errors.u)) for errors in unseen) - best
    got = mean_cost(fits.fit_by_estimate(fitted, 96), unseen) - noise
    assert best * 0.999 < got < best * (1.03 if pairs > 100 else 1.3)
    assert mean_cost(fits.fit_table(fitted, OPTIMAL["optimal_pixel"]), unseen) - noise > 1.3 * best


@pytest.mark.parametrize("u", [np.zeros(5), np.asarray([0.0, 0.0, 0.0, 0.0, 9.0])], ids=["exact", "one error"])
def test_few_or_exact_samples_leave_a_ratio(u):
    errors = StepErrors(*(np.multiply.outer(values, np.ones(SHAPE)) for values in (u, np.linspace(-1, 1, 5))))
    w = np.asarray(ratio_at(fits.fit_by_estimate([errors], 96), 0, errors.x_hat))
    assert np.all((w > 0) & (w <= 1))


RANDOM = np.random.RandomState(0)
TIES = {
    "one value": np.full(900, 0.5),
    "two values": RANDOM.choice([-1.0, 1.0], 900, p=[0.98, 0.02]),
    "a background": np.maximum(RANDOM.uniform(-3.0, 1.0, 900), -1.0).astype(np.float32),
    "equal in float32": 0.5 + RANDOM.choice([0.0, 1e-9], 900),
}


@pytest.mark.parametrize("x", TIES.values(), ids=TIES.keys())
def test_equal_estimates_have_the_mean_of_their_errors(x):
    """The knots increase, so the table that is evaluated is the function that was fitted."""
    u = RANDOM.chisquare(1, len(x)) * (2 + x)
    knots, error = fits.mean_by_bin(x, u, 24)
    x, *table = (jnp.asarray(array, jnp.float32)[None] for array in (x, knots, error))
    last = np.argmax(table[0])
    assert np.all(np.diff(table[0][0, : last + 1]) > 0)
    assert np.all(knots[last:] == knots[last])
    assert np.all(error[last:] == error[last])
    got = np.asarray(interpolate(x, *table)[0])
    np.testing.assert_allclose(got, np.interp(x[0], knots, error), rtol=1e-4)
    _, number, count = np.unique(x[0], return_inverse=True, return_counts=True)
    for i in np.flatnonzero(count > 1):
        np.testing.assert_allclose(got[number == i], u[number == i].mean(), rtol=1e-4)


def test_on_training_images_it_costs_no_more_than_a_ratio_per_pixel(fit):
    """Both ratios are fitted and evaluated with the same model, steps, images and noise."""
    ratios = [fit.steps(loss(3, kind)) for kind in ("optimal_estimate", "optimal_pixel")]
    errors = list(fit.step_errors(ratios[0].gamma))
    ours, per_pixel = (mean_cost(steps.ratio, errors) for steps in ratios)
    assert ours <= per_pixel * (1 + 1e-6)
