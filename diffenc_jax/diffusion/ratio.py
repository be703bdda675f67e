"""The best ratio of the two variances, w = σ_Q² / σ_P² (arXiv 2310.19789, section 3.3).

A step costs ½ [w - 1 - ln w + w u] nats per dimension, with u = E (μ_Q - μ_P)² / σ_Q² (`steps.Step.deviation`). At
w = 1 the cost is ½ u. Its minimum is ½ ln(1 + u), at w* = 1 / (1 + u). The bound holds only for a w that does not
depend on the images it is reported on: u is averaged over training images, and w* is frozen.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def best_ratio(u: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """w* = 1 / (1 + u)."""
    return 1.0 / (1.0 + u)


def best_cost(u: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """½ ln(1 + u), the cost at w* in nats per dimension."""
    return 0.5 * jnp.log1p(u)
