"""The best ratio of the two variances, w = σ_Q² / σ_P² (arXiv 2310.19789, section 3.3).

A step costs ½ [w - 1 - ln w + w u] nats a dimension, u = E (μ_Q - μ_P)² / σ_Q² (`losses.step_error`).
At w = 1 that is ½ u; it is least at w* = 1 / (1 + u), where it is ½ ln(1 + u). A bound needs a w that does
not know the images it is reported on: u is averaged over training images, and w* frozen.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def best_ratio(u: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """w* = 1 / (1 + u)."""
    return 1.0 / (1.0 + u)


def best_cost(u: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """½ ln(1 + u), nats a dimension: the cost at w*."""
    return 0.5 * jnp.log1p(u)
