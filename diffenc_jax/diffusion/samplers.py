"""Ancestral sampling from the generative model (arXiv 2107.00630, appendix A; with an encoder, arXiv 2310.19789)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffenc_jax.diffusion.gaussian import align, image_from_velocity
from diffenc_jax.diffusion.losses import PredictV
from diffenc_jax.diffusion.steps import Extrapolation, Step, Steps, reverse


def ancestral_step(
    predict_v: PredictV,
    extrapolation: Extrapolation,
    z_t: Float[Array, "b *d"],
    at: Step,
    eps: Float[Array, "b *d"],
) -> Float[Array, "b *d"]:
    """z_s = μ_P + σ_P ε ~ p(z_s | z_t), with σ_P² = σ_Q² / w; see steps.py."""
    x_hat = image_from_velocity(z_t, predict_v(z_t, at.gamma_t), at.gamma_t)
    k = extrapolation(at.gamma_s, at.gamma_t)
    mean, variance = reverse(z_t, x_hat, at.gamma_s, at.gamma_t, k)
    return mean + jnp.sqrt(align(variance, z_t) / at.ratio) * eps


def ancestral(
    predict_v: PredictV,
    extrapolation: Extrapolation,
    steps: Steps,
    z: Float[Array, "b *d"],
    draw: Callable[[Array], Float[Array, "b *d"]],
    first: int | Int[Array, ""] = 0,
    last: int | Int[Array, ""] | None = None,
) -> Float[Array, "b *d"]:
    """z through the steps number first .. last - 1, counted from γ_1; by default through all T, from z_1 to z_0.

    One loop on the device, compiled once whatever `first` and `last` are.

    Args:
      predict_v, extrapolation: see `ancestral_step`.
      steps: where to stop on the way, and the variance ratios.
      z: at γ[T - first], where it begins.
      draw: gives the noise of step k = 0 .. T - 1.
      first, last: where to begin, and where to stop.
    """

    def step(k, z_t):
        i = steps.depth - 1 - k
        gamma_s, gamma_t = (jnp.full(z_t.shape[:1], steps.gamma[j]) for j in (i, i + 1))
        at = Step(gamma_s, gamma_t, steps.ratio[i][None], jnp.asarray(steps.depth, steps.gamma.dtype))
        return ancestral_step(predict_v, extrapolation, z_t, at, draw(k))

    return jax.lax.fori_loop(first, steps.depth if last is None else last, step, z)
