"""Attention with one head over all positions of an image."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from diffenc_jax.nets.kernels.by_image import by_image
from diffenc_jax.nets.kernels.linear import linear_map

# Pairs of positions of an image whose weights are held at once: those of 32x32 positions.
MAX_SCORES = 2**20


def attend(query: jax.Array, key: jax.Array, value: jax.Array, scan: bool = False) -> jax.Array:
    """softmax(q kᵀ / √C) v for [B, N, C] each, in the dtype of `value`.

    If there are more than `MAX_SCORES` pairs of positions, the queries are processed in parts with at most `MAX_SCORES`
    pairs each. The parts are computed again for gradients, so that no array has all pairs.

    Args:
      scan: whether the parts form a loop in the compiled program; otherwise they are unrolled.
    """
    batch, count, channels = query.shape
    parts = next(parts for parts in range(1, count + 1) if count % parts == 0 and count**2 // parts <= MAX_SCORES)
    if parts == 1:
        return _attend(query, key, value)
    part = jax.checkpoint(lambda query: _attend(query, key, value))
    queries = jnp.moveaxis(query.reshape(batch, parts, -1, channels), 1, 0)
    _, mixed = jax.lax.scan(lambda _, query: (None, part(query)), None, queries, unroll=1 if scan else parts)
    return jnp.moveaxis(mixed, 0, 1).reshape(value.shape)


def _attend(query, key, value):
    """Σ_k w v / Σ_k w with w = exp(s - max_k s), the only array [B, queries, N] in memory.

    Scores s, exponents and sums are float32. The maximum keeps exp finite and does not influence values, so it has no
    gradient. It is computed from k qᵀ, since XLA would store q kᵀ to read it twice. With `jax.nn.softmax` of q kᵀ, a
    step of `cifar10:vdm-8` with two layers takes 1.063 times the cycles on a v5e, and 1.7 times the bytes.
    """
    maximum = jax.lax.stop_gradient(_scores(key, query).max(axis=1)[:, :, None])
    weights = _exp(_scores(query, key) - maximum, value.dtype)
    total = weights.astype(jnp.float32).sum(axis=2, keepdims=True)
    weights = jax.lax.optimization_barrier(weights)  # without it XLA stores a float32 copy as well
    mixed = jnp.einsum("bqk,bkc->bqc", weights, value, preferred_element_type=jnp.float32)
    return (mixed / total).astype(value.dtype)


def _scores(query, key):
    return jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=jnp.float32) / math.sqrt(query.shape[-1])


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _exp(x, dtype):
    """exp(x) in `dtype`; its derivative is the rounded value itself, not a second array in float32."""
    return jnp.exp(x).astype(dtype)


@_exp.defjvp
def _exp_derivative(dtype, primals, tangents):
    y = _exp(*primals, dtype)
    return y, y * tangents[0].astype(dtype)


def on_gpu(query: jax.Array, key: jax.Array, value: jax.Array, scan: bool = False) -> jax.Array:
    """`attend` by the kernels of cuDNN (arXiv 2205.14135), which store no array of all pairs of positions.

    The kernels support half precision, even numbers of positions, and numbers of channels that are multiples of 8, up
    to 128 (256 from compute capability 9.0 on). `attend` computes all other cases: other arrays, such as float32, and
    devices without cuDNN. Derivatives in forward mode and of higher order are derivatives of `attend`.

    For [128, 1024, 128] in bfloat16 with its gradient, as compiled for an H100, 3 kernels move 0.44 GB. If the weights
    were stored in memory, 11 kernels would move 4.5 GB. A step of `cifar10:vdm-8` with 128 images moves 27.0 instead of
    31.9 GB.
    """
    inputs = query, key, value
    try:
        jax.eval_shape(_attend_for_gradient, *inputs)
    except (NotImplementedError, RuntimeError):
        return attend(*inputs, scan)
    return _attend_by_kernel(inputs)


def _kernel(query, key, value):
    arrays = (x[:, :, None] for x in (query, key, value))
    return jax.nn.dot_product_attention(*arrays, implementation="cudnn")[:, :, 0]


def _attend_for_gradient(*inputs):
    """Values by the kernel, called as in `_gradient`: XLA then computes both calls only once."""
    return [jax.vjp(_kernel, *inputs)[0]]


@jax.custom_jvp
def _attend_by_kernel(inputs):
    return by_image(_attend_for_gradient, *inputs)[0]


@_attend_by_kernel.defjvp
def _derivative(primals, tangents):
    def linear(inputs, dots):
        return jax.jvp(attend, inputs, dots)[1]

    return _attend_by_kernel(*primals), linear_map(linear, _gradient, *primals, *tangents)


@jax.custom_jvp
def _gradient(inputs, out_bar):
    """Cotangents of `inputs`."""
    return tuple(by_image(lambda out_bar, *inputs: [*jax.vjp(_kernel, *inputs)[1](out_bar)], out_bar, *inputs))


@_gradient.defjvp
def _gradient_derivative(primals, tangents):
    def by_arrays(inputs, out_bar):
        return jax.vjp(attend, *inputs)[1](out_bar)

    return _gradient(*primals), jax.jvp(by_arrays, primals, tangents)[1]
