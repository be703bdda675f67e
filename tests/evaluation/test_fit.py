"""Steps fitted on training images, against direct averages and against the unfitted steps they must improve on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.sections import LossConfig
from diffenc_jax.diffusion.encoders import Encoded, NonTrainable
from diffenc_jax.diffusion.gaussian import Prediction
from diffenc_jax.diffusion.losses import errors_at
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.ratios import ByErrorHead
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.fit import Fit, costs_to_all, fit_description, fit_images, squared_error
from tests import tiny
from tests.evaluation.subject import SPLITS, experiment, parameters

PIXELS = (2 * SPLITS["train"].astype(np.float32) + 1) / tiny.LEVELS - 1


def normal(seed, shape):
    return np.random.RandomState(seed).normal(size=shape).astype(np.float32)


def loss(depth, ratio=1.0, times="uniform"):
    return LossConfig(depth, "linear", ratio, times)


@pytest.fixture(scope="module")
def fit():
    return Fit(experiment(), parameters())


@jax.jit
def step_errors(x, gamma_s, gamma_t, eps):
    """u [B, H, W, C] of the step between two γ."""
    gammas = (jnp.full(len(x), gamma) for gamma in (gamma_s, gamma_t))
    return squared_error(experiment().model.bind(parameters()), x, *gammas, eps)[0]


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
        costs = costs_to_all(process, x, gammas, means, 3, eps)
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
    drawn = [fit_images(experiment(fit__images=6, fit__seed=seed)).data for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.any(drawn[0] != drawn[2])
    known = {image.tobytes() for image in SPLITS["train"]}
    assert all(len({image.tobytes() for image in images} & known) == 6 for images in drawn)
    assert fit_description(experiment(fit__images=None))["images"] == 20
