"""Ancestral sampling from the generative model (arXiv 2107.00630, appendix A; with an encoder, arXiv 2310.19789)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffenc_jax.diffusion.gaussian import align, alpha, image_from_velocity, sigma
from diffenc_jax.diffusion.losses import PredictV, Schedule


def ancestral_step(
    predict_v: PredictV,
    z_t: Float[Array, "b *d"],
    gamma_s: Float[Array, " b"],
    gamma_t: Float[Array, " b"],
    eps: Float[Array, "b *d"],
    compensation: float,
) -> Float[Array, "b *d"]:
    """z_s ~ p(z_s | z_t) = N(μ_P, σ_Q² I), s < t.

    With c = 1 - e^(γ_s - γ_t):  μ_P = (α_s/α_t) e^(γ_s - γ_t) z_t + α_s b x̂,  σ_Q² = σ_s² c,
    b = c + k (γ_t - γ_s) σ_t², where k (`compensation`) is 0 for the identity and 1 for an
    encoder (linear extrapolation of its drift, as published).
    """
    c = -jnp.expm1(gamma_s - gamma_t)
    alpha_s, alpha_t, sigma_s = alpha(gamma_s), alpha(gamma_t), sigma(gamma_s)
    b = c + compensation * (gamma_t - gamma_s) * jax.nn.sigmoid(gamma_t)
    x_hat = image_from_velocity(z_t, predict_v(z_t, gamma_t), gamma_t)
    mean = align(alpha_s / alpha_t * (1.0 - c), z_t) * z_t + align(alpha_s * b, z_t) * x_hat
    return mean + align(sigma_s * jnp.sqrt(c), z_t) * eps


def ancestral(
    predict_v: PredictV,
    schedule: Schedule,
    z_1: Float[Array, "b *d"],
    draw: Callable[[Array], Float[Array, "b *d"]],
    depth: int,
    compensation: float,
) -> Float[Array, "b *d"]:
    """z_1 -> z_0 / α_0 in `depth` equal steps of t, one loop on the device.

    Args:
      predict_v, schedule, compensation: see `ancestral_step`.
      z_1: noise to start from.
      draw: gives the noise of step i = 0 .. depth - 1, where step i goes from t = 1 - i/depth.
      depth: number of steps.
    """

    def step(i, z_t):
        t, s = 1.0 - i / depth, 1.0 - (i + 1) / depth
        gamma_s, gamma_t = schedule(jnp.full(z_t.shape[:1], s)), schedule(jnp.full(z_t.shape[:1], t))
        return ancestral_step(predict_v, z_t, gamma_s, gamma_t, draw(i), compensation)

    z_0 = jax.lax.fori_loop(0, depth, step, z_1)
    return z_0 / alpha(schedule(jnp.zeros(())))
