"""The parts of the U-Net: residual block, attention, and chains of alike blocks."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORM_EPSILON = 1e-6
ATTENTION_GROUPS = 32
PRODUCTS = ("conv_general_dilated", "dot_general")


def group_norm(groups: int, dtype: Any, name: str) -> nn.GroupNorm:
    """Group norm whose statistics are taken in float32 whatever `dtype` the output has."""
    return nn.GroupNorm(num_groups=groups, epsilon=NORM_EPSILON, dtype=dtype, name=name)


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in PRODUCTS


# What of a block's inside the backward pass finds kept, by name, as a policy of jax.checkpoint; the rest is computed
# again. 'none' computes nothing again; 'products' keeps the results of convolutions, 'block' nothing.
REMAT = {"none": None, "products": _is_product, "block": jax.checkpoint_policies.nothing_saveable}


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes entries with probability `rate` and rescales the rest; no key, no dropout."""
    if key is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x))


def split_or_none(key: jax.Array | None, num: int) -> list[jax.Array | None]:
    """`num` keys out of one, or `num` times None."""
    return [None] * num if key is None else list(jax.random.split(key, num))


class ResnetBlock(nn.Module):
    """[B, H, W, C] -> [B, H, W, width], conditioned on [B, D]."""

    width: int
    groups: int
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, cond: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        conv = dict(kernel_size=(3, 3), dtype=self.dtype)
        zeros = nn.initializers.zeros
        h = nn.swish(group_norm(self.groups, self.dtype, "norm_0")(x))
        h = nn.Conv(self.width, **conv, name="conv_0")(h)
        shift = nn.Dense(self.width, use_bias=False, kernel_init=zeros, dtype=self.dtype, name="cond")(cond)
        h = h + shift[:, None, None, :]
        h = nn.swish(group_norm(self.groups, self.dtype, "norm_1")(h))
        h = dropout(h, self.dropout, dropout_key)
        h = nn.Conv(self.width, **conv, kernel_init=zeros, name="conv_1")(h)
        if x.shape[-1] != self.width:
            x = nn.Dense(self.width, dtype=self.dtype, name="shortcut")(x)
        return x + h


class Attention(nn.Module):
    """One head over all positions of [B, H, W, C], residual; the softmax is taken in float32."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        normed = group_norm(ATTENTION_GROUPS, self.dtype, "norm")(x).reshape(b, h * w, c)
        query, key, value = (nn.Dense(c, dtype=self.dtype, name=name)(normed) for name in ("query", "key", "value"))
        scores = jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=jnp.float32)
        weights = nn.softmax(scores / math.sqrt(c)).astype(self.dtype)
        mixed = jnp.einsum("bqk,bkc->bqc", weights, value)
        out = nn.Dense(c, kernel_init=nn.initializers.zeros, dtype=self.dtype, name="out")(mixed)
        return x + out.reshape(x.shape)


class Chain(nn.Module):
    """`layers` alike residual blocks, one after the other.

    Their parameters lie stacked along a leading axis whether the chain is scanned (compiles
    fast; for accelerators) or unrolled (for the CPU, where a loop's convolutions run on one
    thread), so a checkpoint fits both. `remat`, a name of `REMAT`, says what is kept of each
    block besides its input for the backward pass.
    """

    layers: int
    width: int
    groups: int
    dropout: float
    dtype: Any
    scan: bool
    remat: str

    @nn.compact
    def __call__(self, h, cond, dropout_key=None, skips=None):
        """Runs the chain.

        Args:
          h: [B, H, W, C].
          cond: [B, D].
          dropout_key: one key for the chain, or None.
          skips: `layers` arrays [B, H, W, S] to append to the blocks' inputs, a list when
            unrolled and stacked when scanned; or None.

        Returns:
          The last block's output, and all blocks' outputs in the form of `skips`.
        """
        block = ResnetBlock(self.width, self.groups, self.dropout, self.dtype, parent=None)
        channels = h.shape[-1] + (0 if skips is None else skips[0].shape[-1])
        example = jnp.zeros((1, *h.shape[1:-1], channels), h.dtype)

        def init(key):
            keys = jax.random.split(key, self.layers)
            return jax.vmap(lambda k: block.init(k, example, cond[:1])["params"])(keys)

        params = self.param("blocks", init)

        def body(h, layer):
            layer_params, key, skip = layer
            x = h if skip is None else jnp.concatenate([h, skip], axis=-1)
            h = block.apply({"params": layer_params}, x, cond, key)
            return h, h

        if self.remat != "none":
            body = jax.checkpoint(body, prevent_cse=not self.scan, policy=REMAT[self.remat])
        keys = None if dropout_key is None else jax.random.split(dropout_key, self.layers)
        if self.scan:
            return jax.lax.scan(body, h, (params, keys, skips))
        outputs = []
        nones = [None] * self.layers
        for layer in zip(unstack(params, self.layers), nones if keys is None else keys, skips or nones, strict=True):
            h, output = body(h, layer)
            outputs.append(output)
        return h, outputs


def unstack(tree: Any, num: int) -> list[Any]:
    """Splits every leaf's leading axis; one `split`, so that the gradient is one concatenation."""
    leaves, structure = jax.tree.flatten(tree)
    columns = [[part[0] for part in jnp.split(leaf, num)] for leaf in leaves]
    return [structure.unflatten(row) for row in zip(*columns, strict=True)]
