"""Attention over all positions of an image, with one array of all their pairs."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.nets.conv import Dense
from diffenc_jax.nets.norms import GroupNorm

ATTENTION_GROUPS = 32


class Attention(nn.Module):
    """One head over all positions of [B, H, W, C], residual. `recompute`: see `group_norm`."""

    dtype: Any
    recompute: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        normed = GroupNorm(ATTENTION_GROUPS, self.dtype, recompute=self.recompute, name="norm")(x).reshape(b, h * w, c)
        query, key, value = (Dense(c, dtype=self.dtype, name=name)(normed) for name in ("query", "key", "value"))
        mixed = attend(query, key, value)
        out = Dense(c, kernel_init=nn.initializers.zeros, dtype=self.dtype, name="out")(mixed)
        return x + out.reshape(x.shape)


def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """softmax(q kᵀ / √C) v of [B, N, C] each: [B, N, C] in the dtype of `value`.

    As Σ_k w v / Σ_k w with w = exp(s - max_k s), where w alone is [B, N, N] in memory, in that dtype; scores s,
    exponents and sums are float32. The greatest score is found by a product of its own, k qᵀ and not q kᵀ, which
    XLA would take for the other and write down to read it twice. It only keeps exp finite, so nothing depends on it.
    """
    greatest = jax.lax.stop_gradient(_scores(key, query).max(axis=1)[:, :, None])
    weights = _exp(_scores(query, key) - greatest, value.dtype)
    total = weights.astype(jnp.float32).sum(axis=2, keepdims=True)
    weights = jax.lax.optimization_barrier(weights)  # written once; XLA would keep them in float32 besides
    mixed = jnp.einsum("bqk,bkc->bqc", weights, value, preferred_element_type=jnp.float32)
    return (mixed / total).astype(value.dtype)


def _scores(query, key):
    return jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=jnp.float32) / math.sqrt(query.shape[-1])


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _exp(x, dtype):
    """In `dtype`, and its derivative is what it was rounded to: that of `jnp.exp` is another array, in float32."""
    return jnp.exp(x).astype(dtype)


@_exp.defjvp
def _exp_derivative(dtype, primals, tangents):
    y = _exp(*primals, dtype)
    return y, y * tangents[0].astype(dtype)
