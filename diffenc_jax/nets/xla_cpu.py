"""Workarounds for XLA's CPU compiler, which change no value and no other platform's program.

Figures are for training steps on two cores (benchmarks/train_step.py, `cifar10:diffenc-8-2` at batch 8).
"""

import math
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, linear_call

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
    return [structure.unflatten(row) for row in zip(*columns, strict=True)]


def with_kernel_gradient(kernel_gradient: Function) -> Callable[[Function], Function]:
    """Decorator: the gradient of f(x, kernel), linear in each, by the kernel is kernel_gradient(x, ȳ) on CPUs."""

    def decorate(f):
        own = jax.custom_jvp(f)

        def derivative(primals, tangents):
            (x, kernel), (x_dot, kernel_dot) = primals, tangents
            shape = jax.ShapeDtypeStruct(kernel.shape, kernel.dtype)

            @on_cpu(kernel_gradient)
            def gradient(x, y_bar):
                return jax.linear_transpose(partial(f, x), shape)(y_bar)[0]

            terms = [] if type(x_dot) is SymbolicZero else [own(x_dot, kernel)]
            if type(kernel_dot) is not SymbolicZero:
                terms.append(linear_call(f, gradient, x, kernel_dot))
            return own(x, kernel), sum(terms)

        own.defjvp(derivative, symbolic_zeros=True)
        return own

    return decorate


def product_gradient(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """Σ x(p) ȳ(p) over pixels p, [C, D], for `with_kernel_gradient` of a product [..., C] by [C, D].

    JAX writes it with ȳ as the first factor, and XLA then computes ȳ a second time, column by column: up to 5 % of a
    step.
    """
    x, y_bar = (a.reshape(-1, a.shape[-1]) for a in (x, y_bar))
    return jax.lax.dot_general(x, y_bar, (((0,), (0,)), ((), ())))


def convolution_gradient(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """Σ x(p + tap) ȳ(p) over pixels p, [3, 3, C, D], for `with_kernel_gradient` of a 3x3 convolution.

    One product per row of taps: of x, moved by the row, and of ȳ moved by each of the columns. XLA would convolve by a
    window of the size of an image, at 35 to 50 GFLOP/s where products reach 50 to 85: a third of a step. The loop
    over the rows is compiled once.
    """
    channels, zero = y_bar.shape[-1], jnp.zeros((), y_bar.dtype)
    rows = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    # A sum of padded arrays is one pass over memory; a concatenation would be four.
    widths = [((0, 0, 0), (0, 0, 0), (i - 1, 1 - i, 0), (i * channels, (2 - i) * channels, 0)) for i in range(3)]
    columns = sum(jax.lax.pad(y_bar, zero, width) for width in widths)

    def row_gradient(i):
        return product_gradient(jax.lax.dynamic_slice_in_dim(rows, i, x.shape[1], axis=1), columns)

    return jax.lax.map(row_gradient, jnp.arange(3)).reshape(3, x.shape[-1], 3, channels).swapaxes(1, 2)


def with_single_gradient(f: Function, static_argnums: tuple[int, ...]) -> Function:
    """f, jitted by itself, so that its gradient by each argument is a single array.

    Where such a gradient is a sum of terms, one of them constant over positions, XLA leaves the sum to the operations
    that use it, so that each block would add up the terms of all later blocks again. For group norms, together with
    `isolate` and `random_halves`: 0.57 of the time to trace and compile a step.
    """
    return jax.jit(f, static_argnums=static_argnums)


def draw_masks(draw: Function, keys: jax.Array, rate: float, shapes: list[tuple[int, ...]]) -> list[jax.Array]:
    """draw(key, rate, shape) for each of the keys and shapes, in one loop per distinct shape.

    A loop is compiled once. Masks of dropout take a third of the time that they take when drawn one by one.
    """

    def loops(keys):
        masks = {}
        for shape in set(shapes):
            places = [i for i, other in enumerate(shapes) if other == shape]
            drawn = jax.lax.map(lambda key, shape=shape: draw(key, rate, shape), keys[jnp.asarray(places)])
            parts = isolate(lambda drawn: [part[0] for part in jnp.split(drawn, len(drawn))], drawn)
            masks |= zip(places, parts, strict=True)
        return [masks[i] for i in range(len(shapes))]

    @on_cpu(loops)
    def one_by_one(keys):
        traced_once = jax.jit(draw, static_argnums=(1, 2))
        return [traced_once(key, rate, shape) for key, shape in zip(keys, shapes, strict=True)]

    return one_by_one(keys)


def random_halves(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform 16-bit numbers [..., C] as uint32; channels c and C/2 + c are the halves of a word of `jax.random.bits`.

    Words are drawn on two axes: on four they take ten times as long to compile.
    """
    words = jax.random.bits(key, (shape[0], math.prod(shape[1:]) // 2), jnp.uint32)
    words = words.reshape(*shape[:-1], shape[-1] // 2)
    return jnp.concatenate([words >> 16, words % 2**16], axis=-1)
