"""What is fitted on training images: against direct averages, and against what it must improve on."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.calibrate import Calibration, _errors_from
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.diffusion import decoder, losses
from diffenc_jax.diffusion.ratio import best_cost, best_ratio
from diffenc_jax.diffusion.steps import Step
from diffenc_jax.errors import InputError
from diffenc_jax.model import ImageSpec, LossConfig, build
from diffenc_jax.train import sharding
from tests import tiny

IMAGES = tiny.images(12)


def dataset():
    return Dataset("tiny", "1", tiny.LEVELS, {"train": IMAGES})


def loss(depth, ratio=1.0, times="uniform"):
    return LossConfig(depth, "linear", ratio, times)


@pytest.fixture(scope="module")
def fitted():
    """A model none of whose parameters is zero, and its calibration."""
    config = tiny.config("diffenc")
    model = build(config, ImageSpec((4, 4, 1), tiny.LEVELS))
    rng = np.random.RandomState(0)
    params = jax.tree.map(
        lambda p: p + 0.05 * rng.normal(size=p.shape).astype(np.float32), jax.jit(model.init)(jax.random.key(0))
    )
    return model, params, Calibration(model, params, config, dataset(), sharding.make_mesh())


@jax.jit(static_argnums=0)
def step_errors(model, params, x, gamma_s, gamma_t, eps):
    """`losses.step_error` [B, H, W, C] of the step between two γ."""
    at = Step(*(jnp.full(len(x), gamma) for gamma in (gamma_s, gamma_t)), jnp.ones(1), jnp.ones(()))
    return losses.step_error(model.encoder(params), model.predict_v(params), model.extrapolation, x, at, eps)


def test_errors_of_all_steps_from_one_time_are_those_of_the_loss(fitted):
    model, params, _ = fitted
    gammas = jnp.linspace(-6.0, 5.0, 6)
    x = decoder.pixel_values(jnp.asarray(IMAGES), tiny.LEVELS)
    eps = jnp.asarray(np.random.RandomState(1).normal(size=x.shape), jnp.float32)
    encode = jax.jit(lambda gamma: model.encoder(params).mean(x, jnp.full(len(x), gamma)))
    means = jnp.stack([encode(gamma) for gamma in gammas])
    for t in (2, 5):
        got = jax.jit(_errors_from, static_argnums=0)(model, params, gammas, means, t, eps)
        for s in range(t):
            expected = step_errors(model, params, x, gammas[s], gammas[t], eps).mean(axis=0)
            np.testing.assert_allclose(got[s], expected, rtol=2e-3)


def test_a_shared_ratio_is_the_best_for_the_mean_error(fitted):
    """w* = 1/(1 + u): the tables by step, channel and pixel come from the same errors."""
    *_, calibration = fitted
    by_pixel, by_channel, by_step = (
        1 / np.asarray(calibration.steps(loss(4, kind)).ratio, np.float64) - 1
        for kind in ("optimal_pixel", "optimal_channel", "optimal")
    )
    assert by_pixel.shape == (4, 4, 4, 1)
    np.testing.assert_allclose(by_channel, by_pixel.mean(axis=(1, 2), keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(by_step, by_pixel.mean(axis=(1, 2, 3), keepdims=True), rtol=1e-4)


def test_the_table_is_the_average_over_the_training_images(fitted):
    model, params, calibration = fitted
    steps = calibration.steps(loss(3, "optimal"))
    x = jnp.tile(decoder.pixel_values(jnp.asarray(IMAGES), tiny.LEVELS), (40, 1, 1, 1))
    eps = jax.random.normal(jax.random.key(7), x.shape)
    for i in range(3):
        each = np.asarray(step_errors(model, params, x, *steps.gamma[i : i + 2], eps), np.float64).mean(axis=(1, 2, 3))
        fitted_u = 1 / float(steps.ratio[i].squeeze()) - 1
        pairs = 8 * 16 // 3
        assert abs(fitted_u - each.mean()) < 5 * each.std() * np.sqrt(1 / pairs + 1 / len(each))


@pytest.mark.parametrize("ratio", [1.0, "optimal_pixel"])
def test_best_times_cost_no_more_than_others(fitted, ratio):
    """By the table that they are chosen from; with it, the end points stay where they are."""
    *_, calibration = fitted
    depth = 2
    gamma = np.asarray(calibration.steps(loss(depth, ratio, "optimal")).gamma, np.float64)
    costs, grid = calibration._costs[None if ratio == 1.0 else ratio], calibration._grid
    assert gamma[0] == pytest.approx(grid[0])
    assert gamma[-1] == pytest.approx(grid[-1])
    middle = int(np.abs(grid - gamma[1]).argmin())
    assert grid[middle] == pytest.approx(gamma[1], abs=1e-5)
    two_steps = costs[0, 1:-1] + costs[1:-1, -1]
    assert costs[0, middle] + costs[middle, -1] == pytest.approx(two_steps.min())


def test_more_steps_than_the_grid_can_tell_apart_are_refined(fitted):
    *_, calibration = fitted
    coarse, fine = (np.asarray(calibration.steps(loss(depth, 1.0, "optimal")).gamma) for depth in (2, 50))
    assert fine.shape == (51,)
    assert np.all(np.diff(fine) > 0)
    np.testing.assert_allclose(fine[::25], coarse, rtol=1e-5)


def test_costs_by_ratio_are_in_order(fitted):
    """A ratio a pixel costs no more than one a channel, a step, or none; all are finite above the diagonal."""
    *_, calibration = fitted
    costs = calibration._costs
    above = np.triu_indices(len(calibration._grid), 1)
    order = [costs[kind][above] for kind in ("optimal_pixel", "optimal_channel", "optimal", None)]
    for less, more in itertools.pairwise(order):
        assert np.all(less <= more * (1 + 1e-6))
    assert np.all(np.isinf(costs[None][np.tril_indices(len(calibration._grid))]))


def test_the_ratios_are_consistent_with_their_costs():
    u = jnp.asarray([0.0, 0.5, 20.0])
    w = best_ratio(u)
    np.testing.assert_allclose(0.5 * (w - 1 - jnp.log(w) + w * u), best_cost(u), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 13}, "fit.images=13 exceeds the 12 training images"),
        ({"images": 0}, "fit.images must be at least 1"),
        ({"grid": 15}, "fit.grid must be at least 16"),
    ],
)
def test_impossible_fits_are_refused(changes, message):
    config = tiny.config()
    config.fit.update(changes)
    with pytest.raises(InputError, match=message):
        Calibration.check(config, dataset(), sharding.make_mesh())


def test_a_learned_ratio_is_one_a_step(fitted):
    model, params, _ = fitted
    model = dataclasses.replace(model, loss=loss(3, "learned"))
    steps = model.steps(params | {"ratio": {"log": jnp.log(jnp.asarray([0.5, 1.0, 2.0]))}}, model.loss)
    np.testing.assert_allclose(steps.ratio.squeeze(), [0.5, 1.0, 2.0], rtol=1e-6)
