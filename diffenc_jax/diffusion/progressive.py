"""Progressive coding: the image that a receiver can show after some of the steps (arXiv 2006.11239, section 4.3).

The bound is the length of a code that sends z_1, then z_s given z_t step by step from the noise to the data, and last
the pixels given z_0. A receiver of z_t has received the latent term and the steps above t, and can show an image.
"""

from typing import NamedTuple

import jax.numpy as jnp

from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.arrays import Images, PerExample, Pixels
from diffenc_jax.diffusion.losses import errors_at, latent
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.steps import Step


class Stage(NamedTuple):
    """Image shown at z_t, and the cost of the next step.

    Attributes:
      pixels: uint8 [B, ...], the pixels nearest to `Process.image` at z_t, or to x̂(z_t) if that determines no image.
      cost: KL(q(z_s | z_t, x) ‖ p(z_s | z_t)), nats per example [B].
    """

    pixels: Pixels
    cost: PerExample


def stage(process: Process, step: Step, pixels: Pixels, eps: Images) -> Stage:
    """The stage at z_t = α_t x_t + σ_t ε, before `step`."""
    errors = errors_at(process, step, process.pixel_values(pixels), eps)
    image = process.image(errors.estimate, step.gamma_t)
    shown = errors.estimate.x_hat if image is None else image
    return Stage(decoder.nearest_pixel(shown, process.pixel_levels), step.loss(errors) / step.depth)


def ends(process: Process, pixels: Pixels, eps: Images) -> tuple[Pixels, PerExample, PerExample]:
    """The most probable pixels given z_0 = α_0 x_0 + σ_0 ε, and the terms of the bound at both ends.

    Returns:
      Pixels uint8 [B, ...], and the latent and the reconstruction term, nats per example [B].
    """
    x, levels, (gamma_0, gamma_1) = process.pixel_values(pixels), process.pixel_levels, process.endpoints
    start, end = (process.encoder.encode(x, jnp.full(len(x), gamma)) for gamma in (gamma_0, gamma_1))
    u = start.x_t + jnp.exp(0.5 * gamma_0) * start.noise(eps)
    at_noise = latent(end.x_t, gamma_1, end.log_std, process.code_nats)
    return decoder.nearest_pixel(u, levels), at_noise, -decoder.log_likelihood(u, pixels, gamma_0, levels)
