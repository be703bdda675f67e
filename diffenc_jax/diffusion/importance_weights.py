"""The importance-weighted bound at finite depth, from several draws of the whole path (arXiv 1509.00519).

With the path z = (z_0, .., z_1) through all steps and its distribution q(z | x) around an image,

  w = p(x | z_0) p(z_1) Π p(z_s | z_t) / q(z | x),   -log p(x) <= -E ln(1/K Σ_k w_k) <= -E ln w,

since E w = p(x). The right side is the bound of losses.py at the same depth. The middle one falls with K towards
-log p(x), however loose the bound is.

How fast it falls depends on the tail of w. A step with the variance ratio w_i multiplies w by one factor per dimension.
The factor's p-th moment is, with ξ ~ N(0, 1) and the deviation δ of `log_weight`,

  E exp(p/2 [ln w_i + ξ² - w_i (ξ + δ)²]) ~ ∫ exp(-½ (1 - p (1 - w_i)) ξ² - p w_i δ ξ) dξ.

It is finite only for p (1 - w_i) < 1: the factor's tail index is 1 / (1 - w_i). At w_i <= 1/2 its second moment is
infinite. Below 1/2 the factors of later steps cannot make up for that: given z_s, the mean of their square is at least
p(x | z_s)², which falls only exponentially in |z_s|, as p(x | z_0) does. The mean of K weights then approaches p(x)
about like K^(-w_i) instead of 1/√K, arbitrarily slowly as w_i -> 0.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.arrays import Data, Images, NoiseOf, PerExample
from diffenc_jax.diffusion.gaussian import align, diffuse, sum_dims
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.steps import Steps


def log_weight(process: Process, steps: Steps, data: Data, eps_1: Images, draw: NoiseOf) -> PerExample:
    """ln w of one path per example, nats per example [B].

    Written in the noise ε_t of z_t = α_t x_t + σ_t ε_t, the path from ε_1 to ε_0 does not depend on x, unless the
    encoder scales the noise: with ξ ~ N(0, I) and c = 1 - e^(γ_s - γ_t) a step of q(z_s | z_t, x) (steps.py) is

      ε_s = √(1 - c) ε_t + √c ξ,

    and with δ = (μ_Q - μ_P)/σ_Q (`Step.deviation`) and the variance ratio w_i

      ln p(z_s | z_t) - ln q(z_s | z_t, x) = ½ Σ [ln w_i + ξ² - w_i (ξ + δ)²].

    Args:
      data: [B, ...], as for `losses.bound`.
      eps_1: [B, ...] the noise that the path starts from.
      draw: ξ [B, ...] of the k-th step, k = 0 .. T - 1, counted from γ_1.
    """
    x = process.decoder.values(data)
    gamma_0, gamma_1 = (jnp.broadcast_to(steps.gamma[i], (len(x),)) for i in (0, -1))
    first = process.encoder.encode(x, gamma_1)
    z_1, _ = diffuse(first.x_t, gamma_1, first.noise(eps_1))
    # ln N(z_1; 0, I) - ln q(z_1 | x), where ln σ_1² = -softplus(-γ_1)
    start = jnp.square(eps_1) - jnp.square(z_1) - align(jax.nn.softplus(-gamma_1), x)
    start = 0.5 * sum_dims(start if first.log_std is None else start + 2.0 * first.log_std) - process.code_nats

    def body(k, state):
        noise, total = state
        step, xi = process.step(steps, steps.depth - 1 - k, len(x)), draw(k)
        encoding = step.encode(process.encoder, x)
        errors = losses.errors_of(process, step, encoding, noise)
        delta, w = step.deviation(errors), step.weight(errors.estimate)
        # ξ² - w (ξ + δ)² without the difference of two squares
        total += 0.5 * sum_dims(jnp.log(w) + (1.0 - w) * jnp.square(xi) - w * delta * (2.0 * xi + delta))
        return _next_noise(process.encoder, step, encoding, noise, xi), total

    noise, total = jax.lax.fori_loop(0, steps.depth, body, (first.noise(eps_1), start))
    u = process.encoder.mean(x, gamma_0) + align(jnp.exp(0.5 * gamma_0), x) * noise
    return total + process.decoder.log_likelihood(u, data, steps.gamma[0])


def _next_noise(encoder, step, encoding, noise, xi):
    """Noise of z_s from the noise of z_t; √(1 - c) λ noise + σ_Q/σ_s ξ for an encoder that scales it (`Affine`)."""
    kept = align(jnp.exp(0.5 * (step.gamma_s - step.gamma_t)), xi)
    if encoding.lag is None:
        return kept * noise + jnp.sqrt(1.0 - jnp.square(kept)) * xi
    factor = 1.0 + encoding.lag * align(jnp.expm1(step.gamma_t - step.gamma_s), xi)
    new = step.variance(encoder) / jax.nn.sigmoid(step.gamma_s)
    return kept * factor * noise + align(jnp.sqrt(new), xi) * xi


def importance_bound(log_weights: Float[Array, "k b"]) -> PerExample:
    """-ln(1/K Σ_k w_k) from ln w_k, nats per example."""
    return math.log(log_weights.shape[0]) - jax.nn.logsumexp(log_weights, axis=0)


def effective_draws(log_weights: Float[Array, "k b"]) -> PerExample:
    """(Σ w)² / Σ w²: how many of the K draws carry the sum, between 1 and K."""
    return jnp.exp(2.0 * jax.nn.logsumexp(log_weights, axis=0) - jax.nn.logsumexp(2.0 * log_weights, axis=0))
