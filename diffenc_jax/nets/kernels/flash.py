"""Attention on NVIDIA GPUs that holds no array of all pairs of positions in memory, by Triton kernels.

Notation: scores sᵢⱼ = qᵢ·kⱼ log₂e / √C, so that weights are powers of 2; Lᵢ = log₂ Σⱼ 2^sᵢⱼ; weights pᵢⱼ = 2^(sᵢⱼ - Lᵢ);
output oᵢ = Σⱼ pᵢⱼ vⱼ. Scores, weights and sums are float32. Products take the dtype of the arrays, with float32 results;
those of float32 are TF32 on a GPU, unless `jax_default_matmul_precision` says otherwise.
"""

import math
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.custom_partitioning import custom_partitioning
from jax.experimental.pallas import triton
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir

BLOCK_BYTES = 2**14  # of an array's rows that are in shared memory: several blocks fit into the 99 KB of small GPUs
MIN_BLOCK, MAX_BLOCK = 16, 64  # rows; tensor cores multiply at least 16


def attend(query: jax.Array, key: jax.Array, value: jax.Array, interpret: bool = False) -> jax.Array:
    """softmax(q kᵀ / √C) v for [B, N, C] each, in the dtype of `value`.

    The gradient is a kernel too. Forward derivatives and those of higher order are those of `formula`, with arrays of all pairs.

    Args:
      interpret: whether to run the kernels by Pallas's interpreter, on any platform.
    """
    return _attend(interpret, (query, key, value))[0]


def supports(count: int, channels: int, dtype: Any) -> bool:
    """Whether the kernels of `attend` fit into the shared memory of a GPU for [B, count, channels]."""
    itemsize = jnp.dtype(dtype).itemsize
    return itemsize in (2, 4) and 16 <= channels and _padded(channels) * itemsize * MIN_BLOCK <= BLOCK_BYTES


def formula(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """`attend` by arrays of all pairs, differentiable to any order."""
    scores = jnp.einsum("bic,bjc->bij", query, key, preferred_element_type=jnp.float32) / math.sqrt(query.shape[-1])
    weights = jax.nn.softmax(scores).astype(value.dtype)
    return jnp.einsum("bij,bjc->bic", weights, value, preferred_element_type=jnp.float32).astype(value.dtype)


def _padded(channels):
    return pl.next_power_of_2(channels)


class _Image:
    """Blocks of one image's arrays [N, C] within a kernel; rows and columns beyond them are zero."""

    def __init__(self, shape, dtype):
        _, self.count, self.channels = shape
        self.width = _padded(self.channels)
        rows = BLOCK_BYTES // (self.width * jnp.dtype(dtype).itemsize)
        self.rows = min(MAX_BLOCK, rows, max(MIN_BLOCK, _padded(self.count)))
        self.blocks = pl.cdiv(self.count, self.rows)

    def inside(self, block, axis, shape):
        """Whether rows of a block, along `axis` of `shape`, are rows of the image; None if all are."""
        if self.count % self.rows == 0:
            return None
        return block * self.rows + jax.lax.broadcasted_iota(jnp.int32, shape, axis) < self.count

    def block(self, ref, block):
        """Reference to a block of [N, C] or [N] and the mask of its elements."""
        shape = (self.rows, self.width)[: ref.ndim]
        mask = self.inside(block, 0, shape)
        if ref.ndim == 2 and self.width != self.channels:
            columns = jax.lax.broadcasted_iota(jnp.int32, shape, 1) < self.channels
            mask = columns if mask is None else mask & columns
        return ref.at[pl.ds(block * self.rows, self.rows)], mask

    def load(self, ref, block):
        ref, mask = self.block(ref, block)
        return triton.load(ref, mask=mask, other=None if mask is None else jnp.zeros((), ref.dtype))

    def store(self, ref, block, values):
        ref, mask = self.block(ref, block)
        triton.store(ref, values.astype(ref.dtype), mask=mask)

    def scores(self, query, key, block):
        """s [queries, keys] of a block of keys; -∞ for keys beyond the image, which gives them the weight 0."""
        s = _product(query, key, 1, 1) * (math.log2(math.e) / math.sqrt(self.channels))
        inside = self.inside(block, 1, s.shape)
        return s if inside is None else jnp.where(inside, s, -jnp.inf)

    def sum(self, term, *initial):
        return jax.lax.fori_loop(0, self.blocks, lambda block, sums: term(block, *sums), initial)

    def zeros(self):
        return jnp.zeros((self.rows, self.width), jnp.float32)

    def call(self, kernel, outputs, interpret, *inputs):
        def spec(array):
            block = (None, self.blocks * self.rows, *(self.width for _ in array.shape[2:]))
            return pl.BlockSpec(block, lambda _, image: (image, *(0 for _ in array.shape[1:])))

        return pl.pallas_call(
            partial(kernel, self),
            out_shape=outputs,
            grid=(self.blocks, inputs[0].shape[0]),
            in_specs=[spec(array) for array in inputs],
            out_specs=[spec(array) for array in outputs],
            interpret=interpret,
            compiler_params=triton.CompilerParams(num_warps=4 if self.width <= 64 else 8, num_stages=2),
            name=kernel.__name__.strip("_"),
        )(*inputs)


def _product(a, b, a_axis, b_axis):
    """Sum over the axes a_axis of a and b_axis of b, in float32."""
    return jax.lax.dot_general(a, b, (((a_axis,), (b_axis,)), ((), ())), preferred_element_type=jnp.float32)


def _attention(image, query_ref, key_ref, value_ref, out_ref, log_sum_ref):
    """o and L of a block of queries i by one pass over blocks J of keys (arXiv 2205.14135).

    With m the maximum of all scores up to block J: m' = max(m, maxⱼ sᵢⱼ), l' = 2^(m - m') l + Σⱼ 2^(sᵢⱼ - m') and
    o' = 2^(m - m') o + Σⱼ 2^(sᵢⱼ - m') vⱼ. In the end, o / l is the output and m + log₂ l is L.
    """
    own = pl.program_id(0)
    query = image.load(query_ref, own)

    def add(block, out, maximum, total):
        key, value = image.load(key_ref, block), image.load(value_ref, block)
        s = image.scores(query, key, block)
        greater = jnp.maximum(maximum, s.max(axis=1))
        shrink, weights = jnp.exp2(maximum - greater), jnp.exp2(s - greater[:, None])
        out = shrink[:, None] * out + _product(weights.astype(value.dtype), value, 1, 0)
        return out, greater, shrink * total + weights.sum(axis=1)

    rows = jnp.zeros((image.rows,), jnp.float32)
    out, maximum, total = image.sum(add, image.zeros(), rows - jnp.inf, rows)
    image.store(out_ref, own, out / total[:, None])
    image.store(log_sum_ref, own, maximum + jnp.log2(total))


def _attention_gradient(image, *refs):
    """Cotangents of q, k and v for rows of one block; each is a sum over the image's blocks.

    With ō the cotangent of o, δᵢ = oᵢ·ōᵢ and s̄ᵢⱼ = pᵢⱼ (ōᵢ·vⱼ - δᵢ): v̄ⱼ = Σᵢ pᵢⱼ ōᵢ, k̄ⱼ = Σᵢ s̄ᵢⱼ qᵢ / √C and
    q̄ᵢ = Σⱼ s̄ᵢⱼ kⱼ / √C.
    """
    query_ref, key_ref, value_ref, out_bar_ref, log_sum_ref, delta_ref, *bar_refs = refs
    own, scale = pl.program_id(0), 1 / math.sqrt(image.channels)

    def of_queries(block):
        return [image.load(ref, block) for ref in (query_ref, out_bar_ref, log_sum_ref, delta_ref)]

    def of_keys(block):
        return [image.load(ref, block) for ref in (key_ref, value_ref)]

    def weights(queries, keys, block):
        (query, out_bar, log_sum, delta), (key, value) = queries, keys
        p = jnp.exp2(image.scores(query, key, block) - log_sum[:, None])
        s_bar = p * (_product(out_bar, value, 1, 1) - delta[:, None])
        return p.astype(out_bar.dtype), s_bar.astype(key.dtype)

    keys = of_keys(own)

    def add_queries(block, key_bar, value_bar):
        queries = of_queries(block)
        p, s_bar = weights(queries, keys, own)
        return key_bar + _product(s_bar, queries[0], 0, 0), value_bar + _product(p, queries[1], 0, 0)

    key_bar, value_bar = image.sum(add_queries, image.zeros(), image.zeros())
    image.store(bar_refs[1], own, key_bar * scale)
    image.store(bar_refs[2], own, value_bar)
    queries = of_queries(own)

    def add_keys(block, query_bar):
        keys = of_keys(block)
        return (query_bar + _product(weights(queries, keys, block)[1], keys[0], 1, 0),)

    (query_bar,) = image.sum(add_keys, image.zeros())
    image.store(bar_refs[0], own, query_bar * scale)


def _forward(interpret, query, key, value):
    image = _Image(query.shape, query.dtype)
    log_sum = jax.ShapeDtypeStruct(query.shape[:2], jnp.float32)
    out = jax.ShapeDtypeStruct(value.shape, value.dtype)
    return image.call(_attention, [out, log_sum], interpret, query, key, value)


def _backward(interpret, query, key, value, out_bar, log_sum, delta):
    image = _Image(query.shape, query.dtype)
    bars = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in (query, key, value)]
    return image.call(_attention_gradient, bars, interpret, query, key, value, out_bar, log_sum, delta)


@cache
def _by_image(kernel, rule, interpret):
    """A kernel whose arrays may be sharded by the batch: the partitioner does not see into kernels."""

    def partition(mesh, arguments, results):
        shardings = jax.tree.map(lambda array: array.sharding, (results, arguments))
        return mesh, partial(kernel, interpret), *shardings

    sharded = custom_partitioning(partial(kernel, interpret))
    sharded.def_partition(partition=partition, sharding_rule=rule, need_replication_factors=("n", "c"))
    return sharded


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attend(interpret, inputs):
    """o and L. L has no derivative: it is a residual of that of o."""
    return _by_image(_forward, "b n c, b n c, b n c -> b n c, b n", interpret)(*inputs)


@_attend.defjvp
def _attend_rule(interpret, primals, tangents):
    (inputs,), (dots,) = primals, tangents
    out, log_sum = _attend(interpret, inputs)
    return [out, log_sum], [_tangent.bind(*inputs, out, log_sum, *dots, interpret=interpret), jnp.zeros_like(log_sum)]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _gradient(interpret, inputs, outputs, out_bar):
    """Cotangents of `inputs`, by the kernel; `outputs` are those of `_attend`."""
    out, log_sum = outputs
    delta = jnp.sum(out.astype(jnp.float32) * out_bar.astype(jnp.float32), axis=2)
    rule = "b n c, b n c, b n c, b n c, b n, b n -> b n c, b n c, b n c"
    return tuple(_by_image(_backward, rule, interpret)(*inputs, out_bar, log_sum, delta))


@_gradient.defjvp
def _gradient_rule(interpret, primals, tangents):
    def by_formula(inputs, out_bar):
        return jax.vjp(formula, *inputs)[1](out_bar)

    return _gradient(interpret, *primals), jax.jvp(by_formula, primals[::2], tangents[::2])[1]


# The derivative of o as a function of (*inputs, o, L, *tangents of inputs), linear in the last. A primitive is needed
# for a transposition by a kernel that has derivatives itself: `linear_call` has none by its residuals.
_tangent = Primitive("attention_tangent")


def _tangent_by_formula(*arrays, interpret):
    return jax.jvp(formula, arrays[:3], arrays[5:])[1]


def _tangent_derivative(primals, tangents, interpret):
    tangents = tuple(map(ad.instantiate_zeros, tangents))
    out = _tangent.bind(*primals, interpret=interpret)
    return out, jax.jvp(partial(_tangent_by_formula, interpret=interpret), primals, tangents)[1]


def _tangent_transposed(out_bar, *arrays, interpret):
    bars = _gradient(interpret, arrays[:3], arrays[3:5], ad.instantiate_zeros(out_bar))
    bars = [bar if ad.is_undefined_primal(dot) else None for bar, dot in zip(bars, arrays[5:], strict=True)]
    return [None] * 5 + bars


_tangent.def_impl(jax.jit(_tangent_by_formula, static_argnames="interpret"))
_tangent.def_abstract_eval(lambda *arrays, interpret: arrays[3])
mlir.register_lowering(_tangent, mlir.lower_fun(_tangent_by_formula, multiple_results=False))
ad.primitive_jvps[_tangent] = _tangent_derivative
ad.primitive_transposes[_tangent] = _tangent_transposed
