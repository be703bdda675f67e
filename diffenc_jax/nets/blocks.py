"""The U-Net's residual block, and chains of alike blocks of any kind."""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import checkpoint_policies as policies

from diffenc_jax.nets.conv import Conv, Dense
from diffenc_jax.nets.dropout import Mask, draw_masks, dropout, stack_masks
from diffenc_jax.nets.lanes import join, twice
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


class ResnetBlock(nn.Module):
    """[B, H, W, C] -> [B, H, W, width], conditioned on [B, D].

    A skip connection [B, H, W, C] is joined to its input. `mask` as in `dropout`, `recompute` as in `group_norm`,
    `paired` as in `Conv`.
    """

    width: int
    groups: int
    dropout: float
    dtype: Any
    recompute: bool
    paired: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, cond: jax.Array, mask: Mask | None = None, skip: jax.Array | None = None
    ) -> jax.Array:
        zeros, paired = nn.initializers.zeros, self.paired
        parts = (x,) if skip is None else (x, skip)
        h = GroupNorm(self.groups, self.dtype, True, self.recompute, paired, name="norm_0")(*parts)
        h = Conv(self.width, self.dtype, paired=paired, joined=len(parts), name="conv_0")(h)
        shift = nn.Dense(self.width, use_bias=False, kernel_init=zeros, name="cond")(cond).astype(self.dtype)
        h = h + (twice(shift) if paired else shift)[:, None, None, :]
        h = GroupNorm(self.groups, self.dtype, True, self.recompute, paired, name="norm_1")(h)
        h = dropout(h, self.dropout, mask)
        h = Conv(self.width, self.dtype, zeros, paired, name="conv_1")(h)
        x = x if skip is None else join(x, skip)
        if x.shape != h.shape:
            x = Dense(self.width, self.dtype, paired=paired, joined=len(parts), name="shortcut")(x)
        return x + h


class Chain(nn.Module):
    """Alike blocks, one after the other.

    Their parameters are stacked along a leading axis whether the chain is scanned or unrolled, so a checkpoint fits
    both. Scanned chains compile fast and are for accelerators; on CPUs the convolutions of a loop run on one thread.

    Attributes:
      layers: number of blocks.
      make: makes a block (h, cond, mask, skip) -> h.
      scan: whether the chain is scanned.
      remat: a name of `REMAT`.
    """

    layers: int
    make: Callable[..., nn.Module]
    scan: bool
    remat: str

    @nn.compact
    def __call__(self, h, cond, masks, skips=None):
        """Apply the blocks.

        Args:
          h: [B, ..., C].
          cond: [B, D].
          masks: one mask per block, or None, by `draw_masks`.
          skips: `layers` skip connections [B, ..., C] of the blocks, a list, or stacked if scanned; or None.

        Returns:
          The last block's output, and all blocks' outputs in the form of `skips`.
        """
        block = self.make(parent=None)
        example = jnp.zeros((1, *h.shape[1:]), h.dtype)

        def init(key):
            keys, skip = jax.random.split(key, self.layers), None if skips is None else example
            return jax.vmap(lambda k: block.init(k, example, cond[:1], None, skip)["params"])(keys)

        params = self.param("blocks", init)

        # Jitted so that alike layers are traced once.
        apply: Callable = jax.jit(lambda params, *inputs: block.apply({"params": params}, *inputs))
        if self.remat != "none":
            apply = jax.checkpoint(apply, prevent_cse=not self.scan, policy=REMAT[self.remat])

        if self.scan:
            shared, places = stack_masks(masks)

            def body(h, layer):
                layer_params, place, skip = layer
                h = apply(layer_params, h, cond, None if place is None else Mask(cast(jax.Array, shared), *place), skip)
                return h, h

            return jax.lax.scan(body, h, (params, places, skips))
        outputs = []
        for layer_params, mask, skip in zip(
            unstack(params, self.layers), masks, skips or [None] * self.layers, strict=True
        ):
            h = apply(layer_params, h, cond, mask, skip)
            outputs.append(h)
        return h, outputs


class Head(nn.Module):
    """An additional head on a network's last features: two blocks and an output layer.

    It estimates another quantity than the network's output and learns by a loss of its own. Its inputs carry no
    gradient back, so what the network learns does not depend on it.

    Attributes:
      make: makes a block (h, cond, mask, skip) -> h.
      output: the output layer (h, cond) -> image; it may create submodules.
      dropout: dropout rate.
      scan: as in `draw_masks`.
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
        for i, mask in enumerate(draw_masks(key, self.dropout, [hidden_shape] * 2, self.scan)):
            h = self.make(name=f"block_{i}")(h, cond, mask)
        return self.output(h, cond)
