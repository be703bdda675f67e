"""`norm.normalize` as a Triton kernel for GPUs, which reads an image's features once from memory and writes them once.

A program takes an image and the channels of some whole groups. It reads them twice, or three times for a gradient;
after the first time they come from a cache. As compiled for an H100, a step of `cifar10:vdm-8` with 128 images moves
26.9 GB in bfloat16 and 58.8 GB in float32. XLA's norms write and read arrays between their fusions; with them the step
moves 37.3 and 73.8 GB.

Pallas's Triton backend, in JAX 0.10.2 to 0.12.0.1, is deprecated and will be removed (JAX 0.11's notes of July 2026).
Without it, `forms` uses XLA's norms. With Mosaic GPU, Pallas's other backend for NVIDIA cards, the compiled kernel
moves the same number of bytes. However, this needs compute capability 9.0 or newer, and private rules of JAX 0.10.2.

The kernel is made from the three functions of a `Norm`. Their derivatives are again three functions of this form; the
inputs of these include tangents. One kernel for values and one kernel for gradients therefore compute derivatives of
all orders: order 1 is the derivative along tangents, and order 2 is the derivative of order 1. Inputs of order n + 1
are pairs: the inputs of order n, and their tangents.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas.triton import CompilerParams, load, store

from diffenc_jax.nets.kernels import norm as plain
from diffenc_jax.nets.kernels.by_image import by_image
from diffenc_jax.nets.kernels.dropout import Mask, kept_share
from diffenc_jax.nets.kernels.linear import linear_map
from diffenc_jax.nets.kernels.norm import EPSILON, Options, Params, Parts

COMPILER = CompilerParams(num_warps=8, num_stages=2)
INTERPRET = False  # tests set it, to compute without a GPU
MOST_ROWS = 64  # positions that a program holds in registers
ROW_BYTES = 128  # bytes that a program reads per position: a line of the cache

Tree = Any


class Norm(NamedTuple):
    """A norm as Σ moments over positions, coefficients of these sums, and a result by position.

    Attributes:
      moments: (x [P, C], params) -> a tree of [P, C].
      coefficients: (sums of the moments, [C] each, params) -> a tree of [C].
      apply: (x, params, coefficients, kept) -> [P, C].
    """

    moments: Callable[..., Tree]
    coefficients: Callable[..., Tree]
    apply: Callable[..., jax.Array]


def norm_of(options: Options, positions: int, size: int) -> Norm:
    """`norm.normalize` with groups of `size` channels; `kept` is the mask or None."""

    def shifted(x, params):
        return x if params.offset is None else x + params.offset

    def moments(x, params):
        x = shifted(x, params)
        return x, jnp.square(x)

    def over_group(sums):
        means = sums.reshape(-1, size).sum(axis=1, keepdims=True) / (size * positions)
        return jnp.broadcast_to(means, (len(means), size)).reshape(sums.shape)

    def coefficients(sums, params):
        mean, mean_square = map(over_group, sums)
        gain = params.scale * jax.lax.rsqrt(jnp.maximum(mean_square - jnp.square(mean), 0.0) + EPSILON)
        return gain, params.bias - gain * mean

    def apply(x, params, coefficients, kept):
        y = coefficients[0] * shifted(x, params) + coefficients[1]
        y = y * jax.lax.logistic(y) if options.swish else y
        return y if kept is None else jnp.where(kept, y / kept_share(options.rate), 0.0)

    return Norm(moments, coefficients, apply)


def derivative_of(norm: Norm) -> Norm:
    """The derivative of a norm; its inputs are pairs (inputs of the norm, tangents)."""

    def of_pairs(f):
        """f and its derivative, as a function of pairs."""
        return lambda *pairs: jax.jvp(f, [value for value, _ in pairs], [dot for _, dot in pairs])

    def apply(x, params, coefficients, kept):
        return of_pairs(lambda *values: norm.apply(*values, kept))(x, params, coefficients)[1]

    return Norm(of_pairs(norm.moments), of_pairs(norm.coefficients), apply)


def of_order(norm: Norm, parts: Tree) -> Norm:
    """The derivative of `norm` whose order is the order of the inputs `parts`."""
    return norm if _is_parts(parts) else derivative_of(of_order(norm, parts[0]))


class Inputs(NamedTuple):
    """Inputs of some order: `parts` a tree of pairs of tuples [B, P, C_i], `params` one of Params."""

    parts: Tree
    params: Tree

    def with_tangents(self, dots: "Inputs") -> "Inputs":
        return Inputs((self.parts, dots.parts), (self.params, dots.params))

    @property
    def first(self) -> Parts:
        """The parts themselves."""
        return _leaf(self.parts, 0)


def _leaf(tree, side):
    """The parts themselves, on side 0, or their tangents of the highest order, on side 1."""
    return tree if _is_parts(tree) else _leaf(tree[side], side)


def _is_parts(tree):
    return type(tree) is tuple and not isinstance(tree[0], tuple)


class Layout(NamedTuple):
    """How an image's features are divided: `channels` of each part into blocks of `block`."""

    positions: int
    channels: tuple[int, ...]
    block: int

    @classmethod
    def of(cls, parts: Parts, groups: int) -> "Layout":
        channels = tuple(part.shape[-1] for part in parts)
        size, wanted = sum(channels) // groups, ROW_BYTES // parts[0].dtype.itemsize
        return cls(math.prod(parts[0].shape[1:-1]), channels, math.gcd(max(wanted, size), *channels))

    def holds(self, size: int) -> bool:
        """Whether a block has whole groups of `size` channels; sizes of Triton's arrays are powers of 2."""
        return size & (size - 1) == 0 and self.block % size == 0

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks of each part."""
        return tuple(channels // self.block for channels in self.channels)


class Tile:
    """The block of channels of one program's image, read and written some positions at a time."""

    def __init__(self, layout: Layout):
        self._layout, self._image, self._block = layout, pl.program_id(0), pl.program_id(1)
        self._rows = math.gcd(layout.positions, MOST_ROWS)
        self.shape = (self._rows, layout.block)

    def sum(self, f: Callable[[jax.Array], Tree]) -> Tree:
        """Σ f(i) over all steps i, for trees of [C]; None if f returns that."""
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(f, jnp.int32(0)))
        steps = self._layout.positions // self._rows
        return jax.lax.fori_loop(0, steps, lambda i, total: jax.tree.map(jnp.add, total, f(i)), zeros)

    def by_channel(self, ref: Any) -> Any:
        """The block's numbers of an array [C], or [B, C] with numbers of each image."""
        channels = pl.ds(self._block * self._layout.block, self._layout.block)
        return ref.at[channels] if ref.ndim == 1 else ref.at[self._image, channels]

    def read(self, ref: Any, i: jax.Array, part: int | None = None) -> jax.Array:
        """The rows of step i of joined arrays, or of one part; for one part, programs of other parts get zeros."""
        rows, mask = self._at(ref, i, part)
        return load(rows, mask=mask, other=None if mask is None else jnp.zeros((), ref.dtype))

    def read_parts(self, tree: Tree, i: jax.Array) -> Tree:
        """`read` of a tree of parts, joined, in float32."""

        def join(parts):
            return sum(self.read(ref, i, number).astype(jnp.float32) for number, ref in enumerate(parts))

        return jax.tree.map(join, tree, is_leaf=_is_parts)

    def read_mask(self, mask: Any, i: jax.Array) -> jax.Array | None:
        return None if mask is None else (self.read(mask[0], i).astype(jnp.int32) >> mask[1][0]) & 1 == 1

    def write(self, ref: Any, i: jax.Array, values: jax.Array, part: int | None = None) -> None:
        rows, mask = self._at(ref, i, part)
        store(rows, values.astype(ref.dtype), mask=mask)

    def _at(self, ref, i, part):
        """The rows of step i in an array, and their mask, which excludes the programs of other parts."""
        layout, block, mask = self._layout, self._block, None
        if part is not None and len(layout.channels) > 1:
            own = block - sum(layout.blocks[:part])
            block = jnp.clip(own, 0, layout.blocks[part] - 1)
            mask = jnp.broadcast_to(block == own, self.shape)
        return ref.at[self._image, pl.ds(i * self._rows, self._rows), pl.ds(block * layout.block, layout.block)], mask


def _read(tile, params):
    return jax.tree.map(lambda ref: load(tile.by_channel(ref)), params)


def _sums(tile, norm, parts, params):
    def moments(i):
        return jax.tree.map(lambda a: a.sum(axis=0), norm.moments(tile.read_parts(parts, i), params))

    return tile.sum(moments)


def _values(tile, norm, inputs, mask, y, last):
    """Kernel that computes the result `y` and, if `last` is not None, the joined parts of the highest order."""
    params = _read(tile, inputs.params)
    coefficients = norm.coefficients(_sums(tile, norm, inputs.parts, params), params)

    def write(i):
        x = tile.read_parts(inputs.parts, i)
        tile.write(y, i, norm.apply(x, params, coefficients, tile.read_mask(mask, i)))
        if last is not None:
            tile.write(last, i, jax.tree.leaves(x)[-1])

    tile.sum(write)


def _gradients(tile, norm, inputs, mask, y_bar, last_bar, bar):
    """Kernel that computes the cotangents `bar` of the inputs from the cotangents of the results of `_values`.

    The first loop computes the cotangents of the coefficients; the cotangents of the sums of the moments follow from
    these. The second loop computes the cotangents of the inputs, directly and through the moments.
    """
    params = _read(tile, inputs.params)
    sums = _sums(tile, norm, inputs.parts, params)
    coefficients, pull = jax.vjp(norm.coefficients, sums, params)

    def through_coefficients(i):
        x, kept = tile.read_parts(inputs.parts, i), tile.read_mask(mask, i)
        apply = lambda params, coefficients: norm.apply(x, params, coefficients, kept)  # noqa: E731
        return jax.vjp(apply, params, coefficients)[1](tile.read(y_bar, i).astype(jnp.float32))

    params_bar, coefficients_bar = tile.sum(through_coefficients)
    sums_bar, more = pull(coefficients_bar)
    params_bar = jax.tree.map(jnp.add, params_bar, more)

    def through_moments(i):
        x, kept = tile.read_parts(inputs.parts, i), tile.read_mask(mask, i)
        apply = lambda x: norm.apply(x, params, coefficients, kept)  # noqa: E731
        (direct,) = jax.vjp(apply, x)[1](tile.read(y_bar, i).astype(jnp.float32))
        moments_bar = jax.tree.map(lambda a: jnp.broadcast_to(a, tile.shape), sums_bar)
        x_bar, more = jax.vjp(norm.moments, x, params)[1](moments_bar)
        rows = jax.tree.leaves(jax.tree.map(jnp.add, direct, x_bar))
        if last_bar is not None:
            rows[-1] += tile.read(last_bar, i).astype(jnp.float32)
        for parts, value in zip(jax.tree.leaves(bar.parts, is_leaf=_is_parts), rows, strict=True):
            for number, ref in enumerate(parts):
                tile.write(ref, i, value, number)
        return more

    params_bar = jax.tree.map(jnp.add, params_bar, tile.sum(through_moments))
    jax.tree.map(lambda ref, value: store(tile.by_channel(ref), value), bar.params, params_bar)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _call(kernel: Callable, outputs: Callable, options: Options, *arguments: Tree) -> Tree:
    """Outputs of a kernel of a norm for trees of arrays; the first tree is its Inputs.

    Jitted, so that norms of equal shapes are traced and lowered once.

    Args:
      outputs: (options, *arguments) -> ShapeDtypeStructs of the outputs.
    """
    leaves, structure = jax.tree.flatten(arguments)
    layout = Layout.of(arguments[0].first, options.groups)
    own = norm_of(options, layout.positions, sum(layout.channels) // options.groups)
    own = of_order(own, arguments[0].parts)
    out_structure = jax.tree.structure(outputs(options, *arguments))

    def program(*refs):
        read, written = refs[: len(leaves)], refs[len(leaves) :]
        kernel(Tile(layout), own, *jax.tree.unflatten(structure, read), *jax.tree.unflatten(out_structure, written))

    def call(*leaves):
        shapes = jax.tree.leaves(outputs(options, *jax.tree.unflatten(structure, leaves)))
        grid = len(leaves[0]), sum(layout.blocks)
        name = f"norm{kernel.__name__}"
        run = pl.pallas_call(program, shapes, grid=grid, name=name, compiler_params=COMPILER, interpret=INTERPRET)
        return list(run(*leaves))

    return jax.tree.unflatten(out_structure, by_image(call, *leaves))


def _value_outputs(options, inputs, mask):
    first = inputs.first[0]
    shape = (*first.shape[:2], sum(part.shape[2] for part in inputs.first))
    joins = options.keep and len(inputs.first) > 1
    return jax.ShapeDtypeStruct(shape, options.dtype), jax.ShapeDtypeStruct(shape, first.dtype) if joins else None


def _gradient_outputs(options, inputs, mask, y_bar, last_bar):
    by_image = jax.ShapeDtypeStruct((len(y_bar), y_bar.shape[2]), jnp.float32)
    parts = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), inputs.parts)
    return (Inputs(parts, jax.tree.map(lambda _: by_image, inputs.params)),)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def values(options: Options, inputs: Inputs, mask: Tree) -> tuple[jax.Array, jax.Array | None]:
    """The result and, if `options.keep`, the joined parts, of the highest order."""
    y, last = _call(_values, _value_outputs, options, inputs, mask)
    if options.keep and last is None:
        last = _leaf(inputs.parts, 1)[0]
    return y, last


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def gradients(options: Options, inputs: Inputs, mask: Tree, bars: tuple[jax.Array, jax.Array | None]) -> Inputs:
    """Cotangents of the inputs, from the cotangents of the results of `values`."""
    (bar,) = _call(_gradients, _gradient_outputs, options, inputs, mask, *bars)
    params = jax.tree.map(lambda a, bar: bar if a.ndim == 2 else bar.sum(axis=0), inputs.params, bar.params)
    return Inputs(bar.parts, params)


def _derivative(options, constants, dots):
    """The derivative of `values` along `dots`: the result of the next order."""
    inputs, mask = constants
    return values(options, inputs.with_tangents(dots), mask)


def _values_rule(options, primals, tangents):
    transpose = lambda constants, bars: gradients(options, *constants, bars)  # noqa: E731
    return values(options, *primals), linear_map(partial(_derivative, options), transpose, primals, tangents[0])


def _gradients_rule(options, primals, tangents):
    """The derivative of `gradients` along `dots`: by symmetry, a gradient of the derivative."""
    (inputs, mask, bars), (dots, _, bars_dot) = primals, tangents

    def second(constants, dots):
        inputs, mask, y_bar = constants
        bar = gradients(options, inputs.with_tangents(dots), mask, (y_bar, None))
        return Inputs(bar.parts[0], bar.params[0])

    by_inputs = linear_map(second, second, (inputs, mask, bars[0]), dots)
    linear = lambda constants, bars: gradients(options, *constants, bars)  # noqa: E731
    by_bars = linear_map(linear, partial(_derivative, options), (inputs, mask), bars_dot)
    return gradients(options, *primals), jax.tree.map(jnp.add, by_inputs, by_bars)


values.defjvp(_values_rule)
gradients.defjvp(_gradients_rule)


def normalize(options: Options, parts: Parts, params: Params, mask: Mask | None) -> tuple[jax.Array, jax.Array | None]:
    """`norm.normalize` by the kernel; without it if groups are too large or their size is not a power of 2."""
    b, height, width, _ = parts[0].shape
    layout = Layout.of(parts, options.groups)
    if not layout.holds(sum(layout.channels) // options.groups):
        return plain.on_cpu(options, parts, params, mask)
    flat = tuple(part.reshape(b, height * width, -1) for part in parts)
    bits = None
    if mask is not None:
        bits = mask.own_bytes().reshape(b, height * width, -1), mask.bit.astype(jnp.int32)[None]
    y, x = values(options, Inputs(flat, params), bits)
    return y.reshape(b, height, width, -1), None if x is None else x.reshape(b, height, width, -1)
