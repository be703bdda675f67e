"""A noise schedule that is linear in the angle between image and noise."""

import math

import jax.numpy as jnp

from diffenc_jax.diffusion.schedules import Schedule


class Cosine(Schedule):
    """γ(t) = 2 ln tan φ(t), φ linear in t: α = cos φ and σ = sin φ (arXiv 2102.09672, section 3.2)."""

    def __call__(self, t):
        first, last = (math.atan(math.exp(0.5 * gamma)) for gamma in (self.gamma_min, self.gamma_max))
        return 2.0 * jnp.log(jnp.tan(first + (last - first) * t))
