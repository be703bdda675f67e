"""Workarounds for XLA's CPU compiler, which change no value and no other platform's program.

Figures are for training steps on two cores (benchmarks/train_step.py, `cifar10:diffenc-8-2` at batch 8).
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import linear_call

Function = Callable[..., Any]


def on_cpu(replacement: Function) -> Callable[[Function], Function]:
    """Decorator: on CPUs, call `replacement`, which computes the same from the same arguments.

    Positional arguments are arrays; keyword arguments are static.
    """

    def decorate(f):
        @wraps(f)
        def choose(*arrays, **options):
            cpu, default = (partial(g, **options) if options else g for g in (replacement, f))
            return jax.lax.platform_dependent(*arrays, cpu=cpu, default=default)

        return choose

    return decorate


def isolate(f: Function, x: Any) -> Any:
    """f(x), fused with nothing before or after it.

    XLA would fuse slices of one array with each of their users, and compile for every layer what alike layers can
    share: in the gradient of a U-Net of 8 layers, 425 different kernels instead of 233. Both branches of the condition
    are the same.
    """

    def conditional(x):
        return jax.lax.cond(jax.tree.leaves(x)[0].ravel()[0] > 0, f, f, x)

    return on_cpu(conditional)(f)(x)


def unstack(tree: Any, count: int) -> list[Any]:
    """The `count` slices of every leaf along its leading axis; their gradient is one `jnp.stack`.

    The gradient of an indexing would be a sum of `count` arrays, each padded with zeros to the size of the leaf. The
    values of the indices are unknown to XLA, so that layers share the kernels that read their parameters: in the
    gradient of a U-Net of 8 layers, 181 different kernels instead of the 233 that `isolate` leaves.
    """
    leaves, structure = jax.tree.flatten(tree)
    zero = jnp.isnan(leaves[0].ravel()[0]).astype(jnp.int32)  # parameters are not NaN, which XLA does not know
    indices = [zero + index for index in range(count)]

    def slices(leaves_and_indices):
        leaves, indices = leaves_and_indices
        return [[jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False) for i in indices] for leaf in leaves]

    def stack(_, columns):
        return [jnp.stack(column) for column in columns]

    columns = linear_call(lambda indices, leaves: isolate(slices, (leaves, indices)), stack, indices, leaves)
    return [jax.tree.unflatten(structure, row) for row in zip(*columns, strict=True)]


def product_gradient(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """Σ x(p) ȳ(p) over pixels p, float32 [C, ...], for `conv.with_kernel_gradient` of a product [..., C] by [C, ...].

    JAX writes it with ȳ as the first factor, and XLA then computes ȳ a second time, column by column: up to 5 % of a
    step.
    """
    pixels, outputs = x.reshape(-1, x.shape[-1]), y_bar.shape[x.ndim - 1 :]
    y_bar = y_bar.reshape(len(pixels), -1)
    sums = jax.lax.dot_general(pixels, y_bar, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
    return sums.reshape(-1, *outputs)


def convolution_gradient(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """Σ x(p + tap) ȳ(p) over pixels p, float32 [3, 3, C, D], for `conv.with_kernel_gradient` of a 3x3 convolution.

    One product per row of taps: of x, moved by the row, and of ȳ moved by each of the columns. XLA would convolve by a
    window of the size of an image, at 35 to 50 GFLOP/s where products reach 50 to 85: a third of a step. The loop
    over the rows is compiled once.
    """
    channels, zero = y_bar.shape[-1], jnp.zeros((), y_bar.dtype)
    rows = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    # A sum of padded arrays is one pass over memory; a concatenation would be four.
    widths = [((0, 0, 0), (0, 0, 0), (i - 1, 1 - i, 0), (i * channels, (2 - i) * channels, 0)) for i in range(3)]
    columns = jax.lax.pad(y_bar, zero, widths[0])
    for width in widths[1:]:
        columns += jax.lax.pad(y_bar, zero, width)

    def row_gradient(i):
        return product_gradient(jax.lax.dynamic_slice_in_dim(rows, i, x.shape[1], axis=1), columns)

    return jax.lax.map(row_gradient, jnp.arange(3)).reshape(3, x.shape[-1], 3, channels).swapaxes(1, 2)
