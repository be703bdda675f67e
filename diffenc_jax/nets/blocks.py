"""The U-Net's residual block, and chains of alike blocks of any kind."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import checkpoint_policies as policies

from diffenc_jax.core.errors import require
from diffenc_jax.nets.conv import Conv, Dense
from diffenc_jax.nets.dropout import dropout, split_dropout
from diffenc_jax.nets.embeddings import check_width
from diffenc_jax.nets.norms import STATISTICS, GroupNorm
from diffenc_jax.nets.xla_cpu import unstack


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in ("custom_jvp_call", "dot_general")  # the former are `convolve` and `multiply`


# Remat policies: which activations of a block are saved for the backward pass; the others are computed again. 'none'
# saves all, 'products' the results of convolutions and products and the norms' statistics, 'block' nothing.
REMAT = {
    "none": None,
    "products": policies.save_from_both_policies(_is_product, policies.save_only_these_names(STATISTICS)),
    "block": policies.nothing_saveable,
}


def check_options(path: str, network: nn.Module) -> None:
    """Raise InputError, naming keys of `path`, unless the options that all networks of blocks have are possible."""
    check_width(path, network.width)
    require(network.layers >= 1, f"{path}.layers must be at least 1, not {network.layers}")
    require(0.0 <= network.dropout < 1.0, f"{path}.dropout must lie in [0, 1), not {network.dropout}")
    positive = all(isinstance(b, int | float) and b > 0 for b in network.fourier_bins)
    require(positive, f"{path}.fourier_bins must be positive numbers, not {network.fourier_bins}")


class ResnetBlock(nn.Module):
    """[B, H, W, C] -> [B, H, W, width], conditioned on [B, D].

    `drop` as in `dropout`, `recompute` as in `group_norm`.
    """

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
    """Alike blocks, one after the other.

    Their parameters are stacked along a leading axis whether the chain is scanned or unrolled, so a checkpoint fits
    both. Scanned chains compile fast and are for accelerators; on CPUs the convolutions of a loop run on one thread.

    Attributes:
      layers: number of blocks.
      make: makes a block (h, cond, drop) -> h.
      scan: whether the chain is scanned.
      remat: a name of `REMAT`.
    """

    layers: int
    make: Callable[..., nn.Module]
    scan: bool
    remat: str

    @nn.compact
    def __call__(self, h, cond, drops, skips=None):
        """Apply the blocks.

        Args:
          h: [B, ..., C].
          cond: [B, D].
          drops: one argument `drop` per block; see `split_dropout`.
          skips: `layers` arrays [B, ..., S] to append to the blocks' inputs, a list if unrolled and stacked if
            scanned; or None.

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

        # Jitted so that alike layers are traced once.
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


class Head(nn.Module):
    """An additional head on a network's last features: two blocks and an output layer.

    It estimates another quantity than the network's output and learns by a loss of its own. Its inputs carry no
    gradient back, so what the network learns does not depend on it.

    Attributes:
      make: makes a block (h, cond, drop) -> h.
      output: the output layer (h, cond) -> image; it may create submodules.
      dropout: dropout rate.
      scan: whether the blocks take keys for dropout; see `split_dropout`.
    """

    make: Callable[..., nn.Module]
    output: Callable[[jax.Array, jax.Array], jax.Array]
    dropout: float
    scan: bool

    @nn.compact
    def __call__(self, h, cond, hidden_shape, dropout_key):
        """The image for features h, [B, ..., C], and cond, [B, D]; dropout is applied to arrays of `hidden_shape`."""
        h, cond = jax.lax.stop_gradient((h, cond))
        # The network's blocks split the same key, and other heads use the same masks.
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, 1)
        for i, drop in enumerate(split_dropout(key, self.dropout, [hidden_shape] * 2, self.scan)):
            h = self.make(name=f"block_{i}")(h, cond, drop)
        return self.output(h, cond)
