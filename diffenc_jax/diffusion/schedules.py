"""Noise schedules: increasing maps t in [0, 1] -> γ = -log SNR (arXiv 2107.00630, section 3.2).

A schedule is a linen module, so that a learned one brings its parameters; add one here and in
`SCHEDULES`, and the contract tests take it up.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PUBLISHED_GAMMA_MIN = -13.3
PUBLISHED_GAMMA_MAX = 5.0


def gamma_min_for(levels: int) -> float:
    """γ(0) that keeps σ_0 at the published 0.166 of a bin: -13.3 + 2 ln(256 / levels)."""
    return PUBLISHED_GAMMA_MIN + 2.0 * math.log(256 / levels)


class FixedLinear(nn.Module):
    """γ(t) = γ_min + (γ_max - γ_min) t, nothing learned."""

    gamma_min: float
    gamma_max: float

    @nn.compact
    def __call__(self, t: Float[Array, "*b"]) -> Float[Array, "*b"]:
        return self.gamma_min + _rounded((self.gamma_max - self.gamma_min) * t)


class LearnedLinear(nn.Module):
    """γ(t) = b + |w| t, both learned, from γ_min and γ_max at initialisation.

    There is nothing between its end points to learn, and they are trained on the bound.
    """

    gamma_min: float
    gamma_max: float

    @nn.compact
    def __call__(self, t: Float[Array, "*b"]) -> Float[Array, "*b"]:
        w = self.param("w", nn.initializers.constant(self.gamma_max - self.gamma_min), ())
        b = self.param("b", nn.initializers.constant(self.gamma_min), ())
        return b + _rounded(jnp.abs(w) * t)


def _rounded(product: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Keeps compilers from fusing the sum that follows with `product`, which rounds otherwise.

    The networks' time embedding multiplies a rounding of γ by 1000: it must be the same everywhere.
    """
    return jax.lax.optimization_barrier(product)


SCHEDULES = {"fixed_linear": FixedLinear, "learned_linear": LearnedLinear}
