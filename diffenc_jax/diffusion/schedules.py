"""Noise schedules: increasing maps t in [0, 1] -> γ = -log SNR (MATH section 1).

A schedule is a linen module, so that a learned one brings its parameters; add one here and in
`SCHEDULES`, and the contract tests take it up.
"""

import math

import flax.linen as nn
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
        return self.gamma_min + (self.gamma_max - self.gamma_min) * t


SCHEDULES = {"fixed_linear": FixedLinear}
