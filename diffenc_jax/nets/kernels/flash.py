"""Attention on NVIDIA GPUs without an array of all pairs of positions, by Triton kernels.

Notation: scores sᵢⱼ = qᵢ·kⱼ log₂e / √C, so that weights are powers of 2; Lᵢ = log₂ Σⱼ 2^sᵢⱼ; weights
pᵢⱼ = 2^(sᵢⱼ - Lᵢ); output oᵢ = Σⱼ pᵢⱼ vⱼ. Scores, weights and sums are float32. Products take the dtype of the arrays
and have float32 results; on a GPU, those of float32 are TF32 unless `jax.default_matmul_precision` says otherwise.

[128, 1024, 128] in bfloat16 with its gradient, as compiled for an H100: 3 kernels move 0.44 GB. With weights in memory
11 kernels move 4.5 GB.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from diffenc_jax.nets.kernels import attention, gpu_programs
from diffenc_jax.nets.kernels.linear import linear_map

# A program of a kernel holds OWN_BYTES of an array and reads the others by STEP_BYTES. Compiled for compute
# capabilities 8.0 to 12.0, it takes at most 97 KB of shared memory of the 99 of small GPUs (112 of 227 on 10.0), and at
# most 700 bytes of a thread do not fit into the registers of 8 warps.
OWN_BYTES, STEP_BYTES = 2**15, 2**13
OWN_ROWS, STEP_ROWS = 128, 64
MIN_SIZE = 16  # of each axis in a product


def attend(query: jax.Array, key: jax.Array, value: jax.Array, scan: bool = False) -> jax.Array:
    """`flash_attention`, or `attention.attend` where that does not support the arrays."""
    if not supports(query.shape[1], query.shape[2], value.dtype):
        return attention.attend(query, key, value, scan)
    return flash_attention(query, key, value)


def flash_attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """softmax(q kᵀ / √C) v for [B, N, C] each, of one dtype.

    Its gradient is a kernel too. Forward-mode derivatives and those of higher order are those of `attention.attend`.
    """
    return _attend((query, key, value))[0]


def supports(count: int, channels: int, dtype: Any) -> bool:
    """Whether `flash_attention` of [B, count, channels] is of use and fits into a GPU's shared memory."""
    row = _padded(channels) * jnp.dtype(dtype).itemsize
    return dtype in (jnp.bfloat16, jnp.float32) and count >= MIN_SIZE and MIN_SIZE * row <= 2 * STEP_BYTES


def _padded(size):
    return max(MIN_SIZE, pl.next_power_of_2(size))


class _Image:
    """Rows of one image's arrays [N, C] and [N] within a kernel; those beyond N, and columns beyond C, are zero."""

    def __init__(self, array, precision):
        _, self.count, self.channels = array.shape
        self.width, self.precision = _padded(self.channels), precision
        row = self.width * array.dtype.itemsize * (1 if precision is None else 2)  # full float32 takes more memory
        self.own_rows = min(OWN_BYTES // row, OWN_ROWS, _padded(self.count))
        self.step_rows = min(max(STEP_BYTES // row, MIN_SIZE), STEP_ROWS, self.own_rows)

    @property
    def own(self):
        """The rows whose results this program computes."""
        return pl.ds(pl.program_id(0) * self.own_rows, self.own_rows)

    def sum(self, term, *initial):
        """Sum over all rows, `step_rows` at a time."""

        def add(i, sums):
            return term(pl.ds(i * self.step_rows, self.step_rows), *sums)

        return jax.lax.fori_loop(0, pl.cdiv(self.count, self.step_rows), add, initial)

    def zeros(self):
        return jnp.zeros((self.own_rows, self.width), jnp.float32)

    def inside(self, shape, axis, rows):
        """Mask of `shape`, whose axis `axis` is `rows`, of the image's rows."""
        if self.count % rows.size == 0:
            return jnp.full(shape, True)
        return rows.start + jax.lax.broadcasted_iota(jnp.int32, shape, axis) < self.count

    def mask(self, ref, rows):
        shape = (rows.size, self.width)[: ref.ndim]
        mask = self.inside(shape, 0, rows)
        if ref.ndim == 1 or self.width == self.channels:
            return mask
        return mask & (jax.lax.broadcasted_iota(jnp.int32, shape, 1) < self.channels)

    def load(self, ref, rows):
        return gpu_programs.load(ref.at[rows], mask=self.mask(ref, rows), other=jnp.zeros((), ref.dtype))

    def store(self, ref, values):
        gpu_programs.store(ref.at[self.own], values.astype(ref.dtype), mask=self.mask(ref, self.own))

    def product(self, a, b, axis):
        """Sum over the last axis of a and `axis` of b, in float32."""
        axes = ((1,), (axis,)), ((), ())
        return jax.lax.dot_general(a, b, axes, self.precision, preferred_element_type=jnp.float32)

    def scores(self, a, b):
        """s for rows a and b."""
        return self.product(a, b, 1) * (math.log2(math.e) / math.sqrt(self.channels))

    def hide(self, scores, keys):
        """-∞ in place of scores [queries, keys] of keys beyond the image: their weights are 0."""
        return jnp.where(self.inside(scores.shape, 1, keys), scores, -jnp.inf)


def _attention(image, query_ref, key_ref, value_ref, out_ref, log_sum_ref):
    """o and L of rows i, by one pass over rows J (arXiv 2205.14135).

    With m the maximum of the scores up to J: m' = max(m, maxⱼ sᵢⱼ), l' = 2^(m - m') l + Σⱼ 2^(sᵢⱼ - m') and
    o' = 2^(m - m') o + Σⱼ 2^(sᵢⱼ - m') vⱼ. In the end, o / l is the output and m + log₂ l is L.
    """
    query = image.load(query_ref, image.own)

    def add(rows, out, maximum, total):
        key, value = image.load(key_ref, rows), image.load(value_ref, rows)
        scores = image.hide(image.scores(query, key), rows)
        greater = jnp.maximum(maximum, scores.max(axis=1))
        shrink, weights = jnp.exp2(maximum - greater), jnp.exp2(scores - greater[:, None])
        out = shrink[:, None] * out + image.product(weights.astype(value.dtype), value, 0)
        return out, greater, shrink * total + weights.sum(axis=1)

    zeros = jnp.zeros((image.own_rows,), jnp.float32)
    out, maximum, total = image.sum(add, image.zeros(), zeros - jnp.inf, zeros)
    image.store(out_ref, out / total[:, None])
    image.store(log_sum_ref, maximum + jnp.log2(total))


def _attention_gradient(image, *refs):
    """Cotangents of q, k and v for one block of rows.

    With ō the cotangent of o, δᵢ = oᵢ·ōᵢ and s̄ᵢⱼ = pᵢⱼ (ōᵢ·vⱼ - δᵢ): v̄ⱼ = Σᵢ pᵢⱼ ōᵢ, k̄ⱼ = Σᵢ s̄ᵢⱼ qᵢ / √C and
    q̄ᵢ = Σⱼ s̄ᵢⱼ kⱼ / √C. Scores of the first loop are [keys, queries], so that no left operand is transposed: for that,
    registers would not suffice in float32.
    """
    query_refs, key_refs, bar_refs = (refs[0], *refs[3:6]), refs[1:3], refs[6:]
    key, value = (image.load(ref, image.own) for ref in key_refs)
    scale = 1 / math.sqrt(image.channels)

    def add_queries(rows, key_bar, value_bar):
        query, out_bar, log_sum, delta = (image.load(ref, rows) for ref in query_refs)
        p = jnp.exp2(image.scores(key, query) - log_sum)
        s_bar = p * (image.product(value, out_bar, 1) - delta)
        key_bar += image.product(s_bar.astype(query.dtype), query, 0)
        return key_bar, value_bar + image.product(p.astype(out_bar.dtype), out_bar, 0)

    key_bar, value_bar = image.sum(add_queries, image.zeros(), image.zeros())
    image.store(bar_refs[1], key_bar * scale)
    image.store(bar_refs[2], value_bar)
    query, out_bar, log_sum, delta = (image.load(ref, image.own) for ref in query_refs)

    def add_keys(rows, query_bar):
        key, value = (image.load(ref, rows) for ref in key_refs)
        p = jnp.exp2(image.hide(image.scores(query, key), rows) - log_sum[:, None])
        s_bar = p * (image.product(out_bar, value, 1) - delta[:, None])
        return (query_bar + image.product(s_bar.astype(key.dtype), key, 0),)

    (query_bar,) = image.sum(add_keys, image.zeros())
    image.store(bar_refs[0], query_bar * scale)


@partial(jax.jit, static_argnums=(0, 1))
def _call(kernel, results, *arrays):
    """Outputs of a kernel: arrays like the first one, or of its first two axes, by `results`; compiled once."""
    precision = jax.default_matmul_precision.value

    def call(*arrays):
        image = _Image(arrays[0], precision)
        sums = jax.ShapeDtypeStruct(arrays[0].shape[:2], jnp.float32)
        outputs = [jax.ShapeDtypeStruct(arrays[0].shape, arrays[0].dtype) if whole else sums for whole in results]
        blocks = pl.cdiv(image.count, image.own_rows)

        def spec(array):
            shape = (None, blocks * image.own_rows, image.width)[: array.ndim]
            return pl.BlockSpec(shape, lambda _, b: (b, 0, 0)[: len(shape)])

        return gpu_programs.run(
            partial(kernel, image),
            kernel.__name__.strip("_"),
            out_shape=outputs,
            grid=(blocks, len(arrays[0])),
            in_specs=list(map(spec, arrays)),
            out_specs=list(map(spec, outputs)),
        )(*arrays)

    return gpu_programs.by_image(call, *arrays)


@jax.custom_jvp
def _attend(inputs):
    """o and L. L has no derivative: it is a residual of that of o."""
    return tuple(_call(_attention, (True, False), *inputs))


@_attend.defjvp
def _attend_rule(primals, tangents):
    (inputs,), (dots,) = primals, tangents
    out, log_sum = _attend(inputs)

    def linear(constants, dots):
        return jax.jvp(attention.attend, constants[0], dots)[1]

    dot = linear_map(linear, lambda constants, bar: _gradient(*constants, bar), (inputs, (out, log_sum)), dots)
    return (out, log_sum), (dot, jnp.zeros_like(log_sum))


@jax.custom_jvp
def _gradient(inputs, outputs, out_bar):
    """Cotangents of `inputs`, by the kernel; `outputs` are those of `_attend`."""
    out, log_sum = outputs
    delta = jnp.sum(out.astype(jnp.float32) * out_bar.astype(jnp.float32), axis=2)
    return tuple(_call(_attention_gradient, (True,) * 3, *inputs, out_bar, log_sum, delta))


@_gradient.defjvp
def _gradient_rule(primals, tangents):
    def by_arrays(inputs, out_bar):
        return jax.vjp(attention.attend, *inputs)[1](out_bar)

    return _gradient(*primals), jax.jvp(by_arrays, primals[::2], tangents[::2])[1]
