"""The U-Net's residual block, and chains of alike blocks of any kind."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import checkpoint_policies as policies
from jax.custom_derivatives import linear_call

from diffenc_jax.nets.apart import apart, unknown
from diffenc_jax.nets.conv import Conv, Dense
from diffenc_jax.nets.dropout import dropout, masks
from diffenc_jax.nets.norms import STATISTICS, GroupNorm

PRODUCTS = ("custom_jvp_call", "dot_general")  # the first are `convolve` and `multiply`


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in PRODUCTS


# What of a block's inside the backward pass finds kept, by name, as a policy of jax.checkpoint; the rest is computed
# again. 'none' computes nothing again; 'products' keeps the results of convolutions and the norms' few statistics,
# 'block' nothing.
REMAT = {
    "none": None,
    "products": policies.save_from_both_policies(_is_product, policies.save_only_these_names(STATISTICS)),
    "block": policies.nothing_saveable,
}


def block_drops(key: jax.Array | None, shapes: list[tuple[int, ...]], rate: float, scan: bool) -> list[Any]:
    """What blocks whose hidden arrays have these shapes take to drop by: each a key if `scan`, else a mask."""
    if key is None or rate == 0.0:
        return [None] * len(shapes)
    keys = jax.random.split(key, len(shapes))
    return list(keys) if scan else masks(keys, rate, shapes)


class ResnetBlock(nn.Module):
    """[B, H, W, C] -> [B, H, W, width], conditioned on [B, D]. `drop`: see `dropout`; `recompute`: see `group_norm`."""

    width: int
    groups: int
    dropout: float
    dtype: Any
    recompute: bool

    @nn.compact
    def __call__(self, x: jax.Array, cond: jax.Array, drop: jax.Array | None = None) -> jax.Array:
        zeros = nn.initializers.zeros
        h = GroupNorm(self.groups, self.dtype, True, self.recompute, name="norm_0")(x)
        h = Conv(self.width, self.dtype, name="conv_0")(h)
        shift = nn.Dense(self.width, use_bias=False, kernel_init=zeros, dtype=self.dtype, name="cond")(cond)
        h = h + shift[:, None, None, :]
        h = GroupNorm(self.groups, self.dtype, True, self.recompute, name="norm_1")(h)
        h = dropout(h, self.dropout, drop)
        h = Conv(self.width, self.dtype, zeros, name="conv_1")(h)
        if x.shape[-1] != self.width:
            x = Dense(self.width, dtype=self.dtype, name="shortcut")(x)
        return x + h


class Chain(nn.Module):
    """`layers` alike blocks that `make` makes, (h, cond, drop) -> h, one after the other.

    Their parameters lie stacked along a leading axis whether the chain is scanned (compiles
    fast; for accelerators) or unrolled (for the CPU, where a loop's convolutions run on one
    thread), so a checkpoint fits both. `remat`, a name of `REMAT`, says what is kept of each
    block besides its input for the backward pass.
    """

    layers: int
    make: Callable[..., nn.Module]
    scan: bool
    remat: str

    @nn.compact
    def __call__(self, h, cond, drops, skips=None):
        """Runs the chain.

        Args:
          h: [B, ..., C].
          cond: [B, D].
          drops: what each block takes to drop by; see `block_drops`.
          skips: `layers` arrays [B, ..., S] to append to the blocks' inputs, a list when
            unrolled and stacked when scanned; or None.

        Returns:
          The last block's output, and all blocks' outputs in the form of `skips`.
        """
        block = self.make(parent=None)
        channels = h.shape[-1] + (0 if skips is None else skips[0].shape[-1])
        example = jnp.zeros((1, *h.shape[1:-1], channels), h.dtype)

        def init(key):
            keys = jax.random.split(key, self.layers)
            return jax.vmap(lambda k: block.init(k, example, cond[:1])["params"])(keys)

        params = self.param("blocks", init)

        # Traced once for all alike layers.
        apply = jax.jit(lambda params, x, cond, drop: block.apply({"params": params}, x, cond, drop))
        if self.remat != "none":
            apply = jax.checkpoint(apply, prevent_cse=not self.scan, policy=REMAT[self.remat])

        def body(h, layer):
            layer_params, drop, skip = layer
            x = h if skip is None else jnp.concatenate([h, skip], axis=-1)
            h = apply(layer_params, x, cond, drop)
            return h, h

        if self.scan:
            drops = None if drops[0] is None else jnp.stack(drops)
            return jax.lax.scan(body, h, (params, drops, skips))
        outputs = []
        for layer in zip(unstack(params, self.layers), drops, skips or [None] * self.layers, strict=True):
            h, output = body(h, layer)
            outputs.append(output)
        return h, outputs


def unstack(tree: Any, num: int) -> list[Any]:
    """The rows of every leaf's leading axis, of length `num`; their gradient is one stack."""
    leaves, structure = jax.tree.flatten(tree)
    places = unknown(range(num), of=leaves[0])

    def rows(taken):
        leaves, places = taken
        return [[jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False) for i in places] for leaf in leaves]

    def stack(_, columns):
        return [jnp.stack(column) for column in columns]

    columns = linear_call(lambda places, leaves: apart(rows, (leaves, places)), stack, places, leaves)
    return [structure.unflatten(row) for row in zip(*columns, strict=True)]
