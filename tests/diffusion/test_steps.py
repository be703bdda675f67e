"""Finite depth: the table of closed forms for Gaussian data, and what must hold for any data."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.encoders import Identity, NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align, alpha, diffuse, image_from_velocity, sigma
from diffenc_jax.diffusion.ratios import Table, best_cost, best_ratio
from diffenc_jax.diffusion.reverse import ThroughEncoder, exponential, linear, mean
from diffenc_jax.diffusion.steps import Step
from tests.diffusion.test_losses import diffusion_loss, exact_velocity, expected_diffusion, process_of
from tests.registered import EXTRAPOLATIONS


def shrinking(gamma):
    """α²."""
    return jax.nn.sigmoid(-gamma)


# Encoder x_t = f(γ) x, and f.
ENCODERS = {
    "identity": (Identity(), jnp.ones_like),
    "linear": (NonTrainable(), shrinking),
    "exponential": (NonTrainable(), shrinking),
}
CASES = {
    name: process_of(encoder, exact_velocity(factor), EXTRAPOLATIONS.get(name, linear))
    for name, (encoder, factor) in ENCODERS.items()
}
# The loss is quadratic in (x, ε): its mean over the four sign pairs is its mean over N(0, I).
SIGNS = jnp.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def uniform_steps(depth):
    return CASES["identity"].uniform_steps(depth)


def every_step(steps):
    """All steps for each of the four sign pairs: x, the places, ε."""
    t = (jnp.arange(steps.depth) + 0.5) / steps.depth
    x, eps = (jnp.tile(SIGNS[:, i], steps.depth)[:, None] for i in (0, 1))
    return x, steps.at(jnp.repeat(t, 4)), eps


@jax.jit(static_argnums=0)
def mean_errors(case, steps):
    """u [T] of every step, averaged exactly over the data and the noise."""
    x, place, eps = every_step(steps)
    u = jnp.square(place.deviation(losses.errors_at(CASES[case], place, x, eps)))
    return u.reshape(steps.depth, 4).mean(axis=1)


@jax.jit(static_argnums=0)
def expected(case, steps):
    """The diffusion loss at finite depth in nats, averaged exactly over steps, data and noise."""
    x, place, eps = every_step(steps)
    return diffusion_loss(CASES[case], place, x, eps).mean()


@pytest.mark.parametrize(
    ("case", "depth", "ratio", "nats"),
    [
        ("identity", 10, 1.0, 17.70785),
        ("identity", 100, 1.0, 7.24379),
        ("identity", 1000, 1.0, 6.70325),
        ("identity", 10, "best", 6.64664),
        ("identity", 100, "best", 6.64664),
        ("identity", 1000, "best", 6.64664),
        ("identity", 100, 0.9, 6.7874),
        ("identity", 1000, 0.9, 8.7132),
        ("identity", 10000, 0.9, 32.7896),
        ("exponential", 10, 1.0, 18.73287),
        ("exponential", 100, 1.0, 7.34918),
        ("exponential", 1000, 1.0, 6.77181),
        ("linear", 10, 1.0, 19.03262),
        ("linear", 100, 1.0, 7.34975),
        ("exponential", 10, "best", 6.67590),
        ("exponential", 100, "best", 6.70773),
        ("exponential", 1000, "best", 6.71108),
    ],
)
def test_gaussian_data_costs_what_theory_says(x64, case, depth, ratio, nats):
    steps = uniform_steps(depth)
    w = best_ratio(mean_errors(case, steps)) if ratio == "best" else jnp.full(depth, ratio)
    digits = 4 if ratio == 0.9 else 5  # as the table gives them
    assert float(expected(case, steps._replace(ratio=Table(w)))) == pytest.approx(nats, abs=0.6 * 10**-digits)


@pytest.mark.parametrize(("case", "depth", "nats"), [("identity", 100, 7.24379), ("linear", 10, 19.03262)])
def test_drawn_steps_average_to_the_sum_over_steps(x64, case, depth, nats):
    rng = np.random.RandomState(0)
    x, eps = jnp.asarray(rng.normal(size=(2, 100_000, 1)))
    at = uniform_steps(depth).at(jnp.asarray(rng.uniform(size=100_000)))
    drawn = diffusion_loss(CASES[case], at, x, eps)
    assert abs(float(drawn.mean()) - nats) < 3 * float(drawn.std()) / math.sqrt(drawn.size)


@pytest.mark.parametrize(("case", "nats"), [("identity", 6.646643), ("exponential", 6.711451)])
def test_drawn_times_average_to_the_integral(x64, case, nats):
    rng = np.random.RandomState(1)
    x, eps = jnp.asarray(rng.normal(size=(2, 100_000, 1)))
    drawn = diffusion_loss(CASES[case], CASES[case].instant(jnp.asarray(rng.uniform(size=100_000))), x, eps)
    assert abs(float(drawn.mean()) - nats) < 3 * float(drawn.std()) / math.sqrt(drawn.size)


@pytest.mark.parametrize("case", CASES)
def test_infinite_depth_is_approached_at_rate_one_over_depth(x64, case):
    depths = np.asarray([400, 800, 1600])
    excess = [
        float(expected(case, uniform_steps(int(depth)))) - expected_diffusion(*ENCODERS[case]) for depth in depths
    ]
    order = np.polyfit(np.log(depths), np.log(excess), 1)[0]
    assert order == pytest.approx(-1.0, abs=0.02)


def test_a_constant_ratio_diverges_as_predicted(x64):
    """The bound at ratio w grows by (T/2) (w - 1 - ln w) a dimension, whatever the model."""
    for w in (0.9, 1.2):
        costs = []
        for depth in (1000, 2000):
            steps = uniform_steps(depth)
            costs.append(float(expected("identity", steps._replace(ratio=Table(jnp.full(depth, w))))))
        # What is left of the difference is w times the error of a finite depth, of order 1/T.
        assert costs[1] - costs[0] == pytest.approx(500 * (w - 1 - math.log(w)), abs=0.05)


seeds = st.integers(0, 2**31)
encoders = st.sampled_from(
    [
        (Identity(), linear),
        (NonTrainable(), linear),
        (NonTrainable(), exponential),
        (Trainable(lambda x, gamma: jnp.sin(2 * x + align(gamma, x))), linear),
        (Trainable(lambda x, gamma: jnp.sin(2 * x + align(gamma, x))), exponential),
        (NonTrainable(), ThroughEncoder()),
        (Trainable(lambda x, gamma: jnp.sin(2 * x + align(gamma, x))), ThroughEncoder()),
    ]
)


def posterior(z_t, x_s, x_t, gamma_s, gamma_t):
    """μ_Q [B, ...] and σ_Q² [B] of q(z_s | z_t, x)."""
    rest = jnp.exp(gamma_s - gamma_t)
    shrink, alpha_s = align(alpha(gamma_s) / alpha(gamma_t) * rest, z_t), align(alpha(gamma_s), z_t)
    mean = shrink * z_t + alpha_s * (x_s - align(rest, z_t) * x_t)
    return mean, jnp.square(sigma(gamma_s)) * -jnp.expm1(gamma_s - gamma_t)


def draw(seed, batch=3, dims=4):
    """Two places on the path, and arrays [batch, dims] for x, ε and v̂."""
    rng = np.random.RandomState(seed)
    gamma_s, gamma_t = np.sort(rng.uniform(-13.3, 5.0, (2, batch)), axis=0)
    ratio = rng.uniform(0.2, 3.0, (batch, dims))
    at = Step(jnp.asarray(gamma_s - 1e-3), jnp.asarray(gamma_t), Table(jnp.asarray(ratio)), jnp.asarray(7.0))
    return at, *map(jnp.asarray, (rng.uniform(-1, 1, (batch, dims)), *rng.normal(size=(2, batch, dims))))


@settings(max_examples=25, deadline=None)
@given(seeds, encoders)
def test_the_loss_is_the_divergence_between_the_two_gaussians(seed, kind):
    """T KL(q(z_s | z_t, x) ‖ p(z_s | z_t)), at every depth, ratio, encoder and assumption."""
    encoder, assumption = kind
    with jax.enable_x64(True):
        at, x, eps, v_hat = draw(seed)
        x_s, x_t = encoder.mean(x, at.gamma_s), encoder.mean(x, at.gamma_t)
        z_t, _ = diffuse(x_t, at.gamma_t, eps)
        x_hat = image_from_velocity(z_t, v_hat, at.gamma_t)
        mean_q, variance_q = posterior(z_t, x_s, x_t, at.gamma_s, at.gamma_t)
        mean_p = mean(z_t, assumption(x_hat, at, encoder), at)
        variance_q, variance_p = align(variance_q, x), align(at.variance(encoder), x) / at.ratio.ratio
        fraction = variance_q / variance_p
        divergence = 0.5 * (fraction - 1 - jnp.log(fraction) + (mean_q - mean_p) ** 2 / variance_p).sum(axis=1)
        got = diffusion_loss(process_of(encoder, lambda z, g: v_hat, assumption), at, x, eps)
        np.testing.assert_allclose(got, 7 * divergence, rtol=1e-6, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_ratio_one_is_the_plain_loss(seed):
    """½ T (SNR(s) - SNR(t)) ‖x - x̂‖² for the identity (arXiv 2107.00630, equations 13 and 14)."""
    with jax.enable_x64(True):
        at, x, eps, v_hat = draw(seed)
        z_t, _ = diffuse(x, at.gamma_t, eps)
        distance = jnp.sum((x - image_from_velocity(z_t, v_hat, at.gamma_t)) ** 2, axis=1)
        plain = 0.5 * at.depth * (jnp.exp(-at.gamma_s) - jnp.exp(-at.gamma_t)) * distance
        process = process_of(Identity(), lambda z, g: v_hat)
        got = diffusion_loss(process, at._replace(ratio=Table(jnp.ones(3))), x, eps)
        np.testing.assert_allclose(got, plain, rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seeds, encoders)
def test_marginals_of_the_path(seed, kind):
    """q(z_s | x) by way of z_t is N(α_s x_s, σ_s²): μ_Q is affine in z_t, so two points give all of it."""
    encoder, _ = kind
    with jax.enable_x64(True):
        at, x, *_ = draw(seed)
        x_s, x_t = encoder.mean(x, at.gamma_s), encoder.mean(x, at.gamma_t)
        centre, variance = posterior(align(alpha(at.gamma_t), x) * x_t, x_s, x_t, at.gamma_s, at.gamma_t)
        np.testing.assert_allclose(centre, align(alpha(at.gamma_s), x) * x_s, atol=1e-12)
        one_sigma = align(alpha(at.gamma_t), x) * x_t + align(sigma(at.gamma_t), x)
        moved, _ = posterior(one_sigma, x_s, x_t, at.gamma_s, at.gamma_t)
        total = jnp.square(moved - centre) + align(variance, x)
        np.testing.assert_allclose(total, jnp.broadcast_to(align(sigma(at.gamma_s) ** 2, x), x.shape), rtol=1e-10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1e6), min_size=4, max_size=4), st.floats(0.01, 10.0))
def test_the_best_ratio_never_does_worse(errors, other):
    with jax.enable_x64(True):
        u = jnp.asarray(errors)
        cost = lambda w: 0.5 * (w - 1 - jnp.log(w) + w * u)  # noqa: E731
        best = cost(best_ratio(u))
        np.testing.assert_allclose(best, best_cost(u), rtol=1e-9, atol=1e-12)
        assert jnp.all(best <= cost(other) * (1 + 1e-12) + 1e-12)
        assert jnp.all(best <= cost(1.0) * (1 + 1e-12) + 1e-12)
        # A ratio for every dimension costs no more than one for all, which costs no more than none.
        shared = best_cost(u.mean())
        assert best.mean() <= shared + 1e-9
        assert shared <= 0.5 * u.mean() + 1e-9


@pytest.mark.parametrize("name", EXTRAPOLATIONS)
def test_extrapolations_tend_to_one_on_short_steps(x64, name):
    gamma = jnp.linspace(-13.0, 5.0, 9)
    np.testing.assert_allclose(EXTRAPOLATIONS[name].factor(gamma - 1e-5, gamma), 1.0, atol=2e-5)


def test_short_steps_keep_their_digits_in_float32():
    """A step of 18.3e-4 in γ: the textbook residual x_s - e^(γ_s - γ_t) x_t - b x̂ loses half its digits there."""
    gamma_t = jnp.linspace(-13.0, 5.0, 50)
    rng = np.random.RandomState(0)
    x, eps, v_hat = (rng.normal(size=(50, 8)) for _ in range(3))
    results = []
    for x64 in (False, True):
        with jax.enable_x64(x64):
            dtype = jnp.float64 if x64 else jnp.float32
            g = jnp.asarray(np.asarray(gamma_t), dtype)
            at = Step(g - dtype(2.0**-9), g, Table(jnp.ones(50, dtype)), dtype(1.0))
            arrays = [jnp.asarray(a, dtype) for a in (x, eps, v_hat)]
            encoder = Trainable(lambda x, gamma: 0.5 * jnp.sin(2 * x))
            process = process_of(encoder, lambda z, g, v=arrays[2]: v)
            results.append(jax.jit(partial(diffusion_loss, process))(at, arrays[0], arrays[1]))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4)
