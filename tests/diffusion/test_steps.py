"""Finite depth: what must hold for any data; closed forms are in test_encoder_law.py."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.diffusion.encoders import Identity, NonTrainable, Trainable
from diffenc_jax.diffusion.gaussian import align, alpha, diffuse, image_from_velocity, sigma
from diffenc_jax.diffusion.ratios import Table, best_cost, best_ratio
from diffenc_jax.diffusion.reverse import ThroughEncoder, exponential, linear, mean
from diffenc_jax.diffusion.steps import Step
from tests.diffusion.formulas import diffusion_loss, process_of

ENCODERS = Identity(), NonTrainable(), Trainable(lambda x, gamma: jnp.sin(2 * x + align(gamma, x)))
ASSUMPTIONS = linear, exponential, ThroughEncoder()


def posterior(z_t, x_s, x_t, gamma_s, gamma_t):
    """μ_Q [B, ...] and σ_Q² [B] of q(z_s | z_t, x)."""
    rest = jnp.exp(gamma_s - gamma_t)
    shrink, alpha_s = align(alpha(gamma_s) / alpha(gamma_t) * rest, z_t), align(alpha(gamma_s), z_t)
    mean = shrink * z_t + alpha_s * (x_s - align(rest, z_t) * x_t)
    return mean, jnp.square(sigma(gamma_s)) * -jnp.expm1(gamma_s - gamma_t)


def draw(seed, batch=3, dims=4):
    """Two points on the path, and arrays [batch, dims] for x, ε and v̂."""
    rng = np.random.RandomState(seed)
    gamma_s, gamma_t = np.sort(rng.uniform(-13.3, 5.0, (2, batch)), axis=0)
    ratio = rng.uniform(0.2, 3.0, (batch, dims))
    at = Step(gamma_s - 1e-3, gamma_t, Table(ratio), np.asarray(7.0))
    return at, rng.uniform(-1, 1, (batch, dims)), *rng.normal(size=(2, batch, dims))


@partial(jax.jit, static_argnums=(0, 1))
def loss_and_divergence(encoder, assumption, at, x, eps, v_hat):
    x_s, x_t = encoder.mean(x, at.gamma_s), encoder.mean(x, at.gamma_t)
    z_t, _ = diffuse(x_t, at.gamma_t, eps)
    x_hat = image_from_velocity(z_t, v_hat, at.gamma_t)
    mean_q, variance_q = posterior(z_t, x_s, x_t, at.gamma_s, at.gamma_t)
    mean_p = mean(z_t, assumption(x_hat, at, encoder), at)
    variance_q, variance_p = align(variance_q, x), align(at.variance(encoder), x) / at.ratio.ratio
    fraction = variance_q / variance_p
    divergence = 0.5 * (fraction - 1 - jnp.log(fraction) + (mean_q - mean_p) ** 2 / variance_p).sum(axis=1)
    return diffusion_loss(process_of(encoder, lambda z, g: v_hat, assumption), at, x, eps), 7 * divergence


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(ENCODERS), st.sampled_from(ASSUMPTIONS))
def test_the_loss_is_the_divergence_between_the_two_gaussians(seed, encoder, assumption):
    """T KL(q(z_s | z_t, x) ‖ p(z_s | z_t)), at every depth, ratio, encoder and assumption."""
    with jax.enable_x64(True):
        np.testing.assert_allclose(*loss_and_divergence(encoder, assumption, *draw(seed)), rtol=1e-6, atol=1e-9)


best_of = jax.jit(lambda u: (best_ratio(u), best_cost(u), best_cost(u.mean())))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1e6), min_size=4, max_size=4), st.floats(0.01, 10.0))
def test_the_best_ratio_never_does_worse(errors, other):
    with jax.enable_x64(True):
        u = np.asarray(errors)
        cost = lambda w: 0.5 * (w - 1 - np.log(w) + w * u)  # noqa: E731
        ratio, expected, shared = map(np.asarray, best_of(u))
        best = cost(ratio)
        np.testing.assert_allclose(best, expected, rtol=1e-9, atol=1e-12)
        assert np.all(best <= cost(other) * (1 + 1e-12) + 1e-12)
        assert np.all(best <= cost(1.0) * (1 + 1e-12) + 1e-12)
        # A ratio for every dimension costs no more than one for all, which costs no more than none.
        assert best.mean() <= shared + 1e-9
        assert shared <= 0.5 * u.mean() + 1e-9


def test_short_steps_keep_their_digits_in_float32():
    """A step of 18.3e-4 in γ: the textbook residual x_s - e^(γ_s - γ_t) x_t - b x̂ loses half its digits there."""
    gamma_t = np.linspace(-13.0, 5.0, 50, dtype=np.float32)
    rng = np.random.RandomState(0)
    x, eps, v_hat = (rng.normal(size=(50, 8)) for _ in range(3))
    results = []
    for x64 in (False, True):
        with jax.enable_x64(x64):
            dtype = np.float64 if x64 else np.float32
            g = gamma_t.astype(dtype)
            at = Step(g - dtype(2.0**-9), g, Table(np.ones(50, dtype)), dtype(1.0))
            arrays = [jax.device_put(a.astype(dtype)) for a in (x, eps, v_hat)]
            encoder = Trainable(lambda x, gamma: 0.5 * jnp.sin(2 * x))
            process = process_of(encoder, lambda z, g, v=arrays[2]: v)
            results.append(jax.jit(partial(diffusion_loss, process))(at, arrays[0], arrays[1]))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4)
