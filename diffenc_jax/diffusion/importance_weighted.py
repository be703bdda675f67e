"""The importance-weighted bound at finite depth: several draws of the whole path (arXiv 1509.00519).

With z = (z_0, .., z_1) the path through all steps and q(z | x) its distribution around an image,

  w = p(x | z_0) p(z_1) Π p(z_s | z_t) / q(z | x),   -log p(x) <= -E ln(1/K Σ_k w_k) <= -E ln w,

since E w = p(x). The right side is the bound of losses.py at the same depth; the left one falls with K
towards -log p(x), however loose the bound is.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.gaussian import align, diffuse, sum_dims
from diffenc_jax.diffusion.losses import PredictV
from diffenc_jax.diffusion.steps import Extrapolation, Step, Steps


def log_weight(
    encoder: Encoder,
    predict_v: PredictV,
    extrapolation: Extrapolation,
    steps: Steps,
    x: Float[Array, "b *d"],
    log_decoder: Callable[[Float[Array, "b *d"]], Float[Array, " b"]],
    eps_1: Float[Array, "b *d"],
    draw: Callable[[Array], Float[Array, "b *d"]],
) -> Float[Array, " b"]:
    """ln w of one path an example, in nats.

    Written in the noise ε_t of z_t = α_t x_t + σ_t ε_t, the path from ε_1 to ε_0 knows nothing of x: with
    ξ ~ N(0, I) and c = 1 - e^(γ_s - γ_t) a step of q(z_s | z_t, x) (steps.py) is

      ε_s = √(1 - c) ε_t + √c ξ,

    and with δ = (μ_Q - μ_P)/σ_Q (`losses.step_deviation`) and the variance ratio w_i

      ln p(z_s | z_t) - ln q(z_s | z_t, x) = ½ Σ [ln w_i + ξ² - w_i (ξ + δ)²].

    Args:
      x: images' values.
      log_decoder: ln p(x | z_0), from z_0 / α_0.
      eps_1: the noise that the path starts from.
      draw: gives ξ of the k-th step taken, k = 0 .. T - 1, the first one from γ_1.
    """
    gamma_0, gamma_1 = (jnp.full(x.shape[:1], steps.gamma[i]) for i in (0, -1))
    z_1, _ = diffuse(encoder.mean(x, gamma_1), gamma_1, eps_1)
    # ln N(z_1; 0, I) - ln q(z_1 | x), where ln σ_1² = -softplus(-γ_1)
    start = 0.5 * sum_dims(jnp.square(eps_1) - jnp.square(z_1) - align(jax.nn.softplus(-gamma_1), x))

    def step(k, state):
        eps_t, total = state
        i = steps.depth - 1 - k
        gamma_s, gamma_t = (jnp.full(x.shape[:1], steps.gamma[j]) for j in (i, i + 1))
        at = Step(gamma_s, gamma_t, steps.ratio[i][None], jnp.asarray(steps.depth, steps.gamma.dtype))
        xi = draw(k)
        delta = losses.step_deviation(encoder, predict_v, extrapolation, x, at, eps_t)
        w = jnp.broadcast_to(at.ratio, x.shape)
        # ξ² - w (ξ + δ)² without the difference of two squares
        total += 0.5 * sum_dims(jnp.log(w) + (1.0 - w) * jnp.square(xi) - w * delta * (2.0 * xi + delta))
        kept = align(jnp.exp(0.5 * (gamma_s - gamma_t)), x)
        return kept * eps_t + jnp.sqrt(1.0 - jnp.square(kept)) * xi, total

    eps_0, total = jax.lax.fori_loop(0, steps.depth, step, (eps_1, start))
    u = encoder.mean(x, gamma_0) + align(jnp.exp(0.5 * gamma_0), x) * eps_0
    return total + log_decoder(u)


def bound(log_weights: Float[Array, "k b"]) -> Float[Array, " b"]:
    """-ln(1/K Σ_k w_k) from ln w_k, nats an example."""
    return math.log(log_weights.shape[0]) - jax.nn.logsumexp(log_weights, axis=0)


def effective_draws(log_weights: Float[Array, "k b"]) -> Float[Array, " b"]:
    """(Σ w)² / Σ w²: how many of the K draws carry the sum, between 1 and K."""
    return jnp.exp(2.0 * jax.nn.logsumexp(log_weights, axis=0) - jax.nn.logsumexp(2.0 * log_weights, axis=0))
