"""Ancestral sampling from the generative model (arXiv 2107.00630, appendix A; with an encoder, arXiv 2310.19789)."""

import jax
import jax.numpy as jnp

from diffenc_jax.diffusion.arrays import Images, Index, NoiseOf
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.reverse import mean
from diffenc_jax.diffusion.steps import Step, Steps


def model_step(process: Process, z_t: Images, step: Step) -> tuple[Images, Images]:
    """μ_P and σ_P of p(z_s | z_t), [B, ...] each, with σ_P² = σ_Q² / w (steps.py)."""
    estimate = process.estimate(z_t, step.gamma_t)
    variance = align(step.variance(process.encoder), z_t) / step.weight(estimate)
    return mean(z_t, process.assumed(estimate, step), step), jnp.broadcast_to(jnp.sqrt(variance), z_t.shape)


def ancestral_step(process: Process, z_t: Images, step: Step, eps: Images) -> Images:
    """z_s = μ_P + σ_P ε ~ p(z_s | z_t)."""
    centre, deviation = model_step(process, z_t, step)
    return centre + deviation * eps


def ancestral(
    process: Process, steps: Steps, z: Images, draw: NoiseOf, first: Index = 0, last: Index | None = None
) -> Images:
    """Take the steps number first .. last - 1, counted from γ_1, and return z. By default: all T, from z_1 to z_0.

    The steps are one loop on the device, compiled once for all values of `first` and `last`.

    Args:
      z: [B, ...] at γ[T - first].
      draw: the noise [B, ...] of step k = 0 .. T - 1.
      first, last: number of the first step, and of the step after the last one.
    """

    def body(k, z_t):
        return ancestral_step(process, z_t, process.step(steps, steps.depth - 1 - k, len(z_t)), draw(k))

    return jax.lax.fori_loop(first, steps.depth if last is None else last, body, z)
