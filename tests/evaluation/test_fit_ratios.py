"""Fitted variance ratios that depend on x̂, against known errors and against one ratio per pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.sections import OPTIMAL, LossConfig
from diffenc_jax.diffusion.gaussian import Estimate
from diffenc_jax.diffusion.ratios import cost, interpolate
from diffenc_jax.evaluation.fit import Fit, StepErrors, fit_by_estimate, fit_table, mean_by_bin
from tests.evaluation.subject import experiment, parameters

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
    got = mean_cost(fit_by_estimate(fitted, 96), unseen) - noise
    assert best * 0.999 < got < best * (1.03 if pairs > 100 else 1.3)
    assert mean_cost(fit_table(fitted, OPTIMAL["optimal_pixel"]), unseen) - noise > 1.3 * best


@pytest.mark.parametrize("u", [np.zeros(5), np.asarray([0.0, 0.0, 0.0, 0.0, 9.0])], ids=["exact", "one error"])
def test_few_or_exact_samples_leave_a_ratio(u):
    errors = StepErrors(*(np.multiply.outer(values, np.ones(SHAPE)) for values in (u, np.linspace(-1, 1, 5))))
    w = np.asarray(ratio_at(fit_by_estimate([errors], 96), 0, errors.x_hat))
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
    knots, error = mean_by_bin(x, u, 24)
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


def test_on_training_images_it_costs_no_more_than_a_ratio_per_pixel():
    """Both ratios are fitted and evaluated with the same model, steps, images and noise."""
    fit = Fit(experiment(), parameters())
    ratios = [fit.steps(LossConfig(3, "linear", kind)) for kind in ("optimal_estimate", "optimal_pixel")]
    errors = list(fit.step_errors(ratios[0].gamma))
    ours, per_pixel = (mean_cost(steps.ratio, errors) for steps in ratios)
    assert ours <= per_pixel * (1 + 1e-6)
