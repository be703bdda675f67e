"""Which times a batch is trained on."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def antithetic(u: Float[Array, ""], batch_size: int) -> Float[Array, " b"]:
    """t_j = (u + j / B) mod 1 for the global batch: each t uniform, together evenly spread.

    arXiv 2107.00630, appendix I.
    """
    return jnp.mod(u + jnp.arange(batch_size, dtype=u.dtype) / batch_size, 1.0)
