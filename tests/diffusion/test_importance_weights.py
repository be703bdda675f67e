"""The importance-weighted bound on Gaussian data, whose likelihood under the stepwise model has a closed form."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.encoders import Identity, NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.importance_weights import effective_draws, importance_bound, log_path_weight, log_weight
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.reverse import exponential, linear, mean
from diffenc_jax.diffusion.steps import Step, Steps
from tests.diffusion.test_losses import diffusion_loss, exact_velocity, process_of

GAMMA_0, GAMMA_1, DEPTH = -4.0, 5.0, 6


def shrinking(gamma):
    """α²."""
    return jax.nn.sigmoid(-gamma)


def waving(gamma):
    """f of the trainable encoder x_t = f(γ) x, whose network is linear in x."""
    return jax.nn.sigmoid(-gamma) + jax.nn.sigmoid(gamma) * 0.3 * jnp.sin(gamma)


WAVING = Trainable(lambda x, gamma: jnp.arctanh(0.3 * x * align(jnp.sin(gamma), x)))
CASES = {
    "identity": process_of(Identity(), exact_velocity(jnp.ones_like)),
    "nontrainable": process_of(NonTrainable(), exact_velocity(shrinking), exponential),
    "trainable": process_of(WAVING, exact_velocity(waving), linear),
}


def steps(ratio):
    return Steps(jnp.linspace(GAMMA_0, GAMMA_1, DEPTH + 1), Table(jnp.full(DEPTH, ratio)))


def log_weights(case, ratio, x, draws, seed=0):
    """ln w [draws] of paths for the data point x."""
    noise = jnp.asarray(np.random.RandomState(seed).normal(size=(DEPTH + 1, draws, 1)))
    xs = jnp.full((draws, 1), x)

    def gaussian_decoder(u):
        return -0.5 * jnp.sum((xs - u) ** 2 * math.exp(-GAMMA_0) + math.log(2 * math.pi) + GAMMA_0, axis=1)

    def log_weights():
        total, u, _ = log_path_weight(CASES[case], steps(ratio), xs, noise[0], lambda k: noise[k + 1])
        return total + gaussian_decoder(u)

    return np.asarray(jax.jit(log_weights)())


def exact_nats(case, ratio, x):
    """-ln p(x): z_1 ~ N(0, 1), each step of p a linear map and a Gaussian, and x ~ N(z_0 / α_0, e^γ_0)."""
    process = CASES[case]
    gammas, variance = steps(ratio).gamma, 1.0
    for s, t in zip(gammas[-2::-1], gammas[:0:-1], strict=True):
        z, gamma_s, gamma_t = jnp.ones((1, 1)), jnp.full(1, s), jnp.full(1, t)
        v = process.predict(z, gamma_t).v
        x_hat = jnp.sqrt(jax.nn.sigmoid(-t)) * z - jnp.sqrt(jax.nn.sigmoid(t)) * v
        step = Step(gamma_s, gamma_t, Table(jnp.full(1, ratio)), jnp.ones(()))
        slope = mean(z, process.assumption(x_hat, step, process.encoder), step)
        variance = float(slope[0, 0]) ** 2 * variance + float(step.variance[0]) / ratio
    variance = variance * (1 + math.exp(GAMMA_0)) + math.exp(GAMMA_0)
    return 0.5 * (x**2 / variance + math.log(2 * math.pi * variance))


@pytest.mark.parametrize("ratio", [1.0, 0.8])
@pytest.mark.parametrize("case", CASES)
def test_weights_average_to_the_likelihood(x64, case, ratio):
    """E w = p(x), exactly, at any depth, ratio and encoder."""
    for x in (0.3, 1.5):
        weights = np.exp(log_weights(case, ratio, x, 100_000) + exact_nats(case, ratio, x))
        assert abs(weights.mean() - 1) < 4 * weights.std() / math.sqrt(len(weights))
        assert weights.std() / math.sqrt(len(weights)) < 0.01


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9])
def test_the_tail_of_the_weights_follows_from_the_ratio(x64, ratio):
    """The noise ξ of a step adds ½ (1 - w) ξ² to ln w: P(weight > y) ~ y^(-1 / (1 - w)), since P(ξ > a) ~ e^(-a²/2)."""
    one, xi = Steps(jnp.asarray([GAMMA_0, GAMMA_1]), Table(jnp.full(1, ratio))), jnp.asarray([[-9.0], [0.0], [9.0]])
    x, eps_1 = jnp.full((3, 1), 0.3), jnp.full((3, 1), 0.7)
    low, middle, high = log_path_weight(CASES["identity"], one, x, eps_1, lambda k: xi).log_weight
    assert float((low + high) / 2 - middle) == pytest.approx(0.5 * (1 - ratio) * 9.0**2)


@pytest.mark.parametrize("case", CASES)
def test_bound_above_weighted_bound_above_likelihood(x64, case):
    """-E ln w >= -E ln(1/K Σ w) >= -ln p(x), less and less, by more than the noise of 100,000 draws."""
    x = 1.2
    log_w = jnp.asarray(log_weights(case, 1.0, x, 100_800))
    means = []
    for draws in (1, 2, 4, 16, 64):
        # The same paths every time: what is gained is not luck.
        values = np.asarray(importance_bound(log_w[: 64 * 1575].reshape(draws, -1)))
        means.append((values.mean(), values.std() / math.sqrt(len(values))))
    assert all(a[0] > b[0] for a, b in itertools.pairwise(means))
    exact = exact_nats(case, 1.0, x)
    assert means[0][0] > exact + 5 * means[0][1]
    assert means[-1][0] > exact - 3 * means[-1][1]
    assert means[-1][0] - exact < 0.1 * (means[0][0] - exact)


@pytest.mark.parametrize("case", CASES)
def test_one_draw_is_the_bound_of_the_losses(x64, case):
    """-E ln w = latent + Σ steps + reconstruction; all are even in x and quadratic, so x = 1 will do."""
    process, encoder = CASES[case], CASES[case].encoder
    got = -log_weights(case, 0.9, 1.0, 200_000)
    places = steps(0.9).at((jnp.arange(DEPTH) + 0.5) / DEPTH)
    total = 0.0
    for eps in (-1.0, 1.0):
        ones = jnp.ones((DEPTH, 1))
        total += 0.5 * float(diffusion_loss(process, places, ones, eps * ones).mean())
    x_0, x_1 = (encoder.mean(jnp.ones((1, 1)), jnp.full(1, g)) for g in (GAMMA_0, GAMMA_1))
    total += float(losses.latent(x_1, jnp.asarray(GAMMA_1))[0])
    total += 0.5 * (1 + float((x_0[0, 0] - 1) ** 2) * math.exp(-GAMMA_0) + math.log(2 * math.pi) + GAMMA_0)
    assert abs(got.mean() - total) < 4 * got.std() / math.sqrt(len(got))


def test_images_with_the_pixel_decoder_keep_their_digits_in_float32():
    """Two dimensions of pixels, float32 against float64 under the same noise."""
    pixels = jnp.asarray([[3, 9], [12, 5]], jnp.uint8)
    found = []
    for x64 in (False, True):
        with jax.enable_x64(x64):
            dtype = jnp.float64 if x64 else jnp.float32
            noise = jnp.asarray(np.random.RandomState(0).normal(size=(9, 2, 2)), dtype)
            gamma = jnp.linspace(-8.0, 5.0, 9, dtype=dtype)
            process = process_of(Identity(), exact_velocity(jnp.ones_like), pixel_levels=17)
            path = Steps(gamma, Table(jnp.ones(8, dtype)))
            draw = jax.jit(
                lambda n, process=process, path=path: log_weight(process, path, pixels, n[0], lambda k: n[k + 1])
            )
            found.append(np.asarray(draw(noise).log_weight))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_effective_draws_against_a_by_hand():
    log_w = jnp.log(jnp.asarray([[1.0, 1.0], [1.0, 3.0]]))
    np.testing.assert_allclose(effective_draws(log_w), [2.0, 16 / 10], rtol=1e-6)
    np.testing.assert_allclose(importance_bound(log_w), [0.0, -math.log(2.0)], atol=1e-6)
