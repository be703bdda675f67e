"""Stacked parameters of layers of equal shape, and their slices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from diffenc_jax.nets.kernels.linear import linear_map

Barrier = Callable[[Callable, Any], Any]


def apply(f: Callable, x: Any) -> Any:
    """f(x)."""
    return f(x)


def barrier(f: Callable, x: Any) -> Any:
    """f(x), fused with nothing before or after it, for CPUs.

    XLA's CPU compiler would fuse each slice of an array with its users. It would then compile separate kernels for
    layers that could share them: 425 different kernels instead of 233 in the gradient of a U-Net of 8 layers. Both
    branches of the condition are the same.
    """
    return jax.lax.cond(jax.tree.leaves(x)[0].ravel()[0] > 0, f, f, x)


def unstack(tree: Any, count: int, barrier: Barrier) -> list[Any]:
    """The `count` slices of every leaf along its leading axis; their gradient is one `jnp.stack`.

    The gradient of plain indexing would be a sum of `count` arrays, each padded with zeros to the size of the leaf. The
    values of the indices are hidden from XLA, so that layers share the kernels that read their parameters. This leaves
    181 different kernels in the gradient of a U-Net of 8 layers on a CPU, instead of 233 with `barrier` only.

    Args:
      barrier: `apply` or `barrier`.
    """
    leaves, structure = jax.tree.flatten(tree)
    zero = jnp.isnan(leaves[0].ravel()[0]).astype(jnp.int32)  # parameters are not NaN, which XLA does not know
    indices = [zero + index for index in range(count)]

    def slices(leaves_and_indices):
        leaves, indices = leaves_and_indices
        return [[jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False) for i in indices] for leaf in leaves]

    def stack(_, columns):
        return [jnp.stack(column) for column in columns]

    columns = linear_map(lambda indices, leaves: barrier(slices, (leaves, indices)), stack, indices, leaves)
    return [jax.tree.unflatten(structure, row) for row in zip(*columns, strict=True)]
