"""The U-Net's residual block, chains of equal blocks of any kind, and additional heads."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import checkpoint_policies as policies

from diffenc_jax.nets.attention import Attention
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.conv import Conv, Dense
from diffenc_jax.nets.kernels.convolution import PRODUCT
from diffenc_jax.nets.kernels.dropout import Mask, draw_masks, stack_masks
from diffenc_jax.nets.kernels.features import Features
from diffenc_jax.nets.kernels.norm import STATISTICS
from diffenc_jax.nets.kernels.stacking import unstack
from diffenc_jax.nets.norms import GroupNorm


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name == "dot_general"


# Remat policies: which activations of a block are saved for the backward pass; the others are computed again. 'none'
# saves all, 'products' the results of convolutions and products and the norms' statistics, 'block' nothing.
REMAT = {
    "none": None,
    "products": policies.save_from_both_policies(_is_product, policies.save_only_these_names(PRODUCT, STATISTICS)),
    "block": policies.nothing_saveable,
}


class ResnetBlock(nn.Module):
    """Features [B, H, W, C] -> [B, H, W, width], conditioned on [B, D].

    A skip connection (also features) is joined to the input. `mask` is as in `dropout`. If `attention`, attention over
    all positions follows.
    """

    width: int
    groups: int
    dropout: float
    compute: Compute
    attention: bool = False

    @nn.compact
    def __call__(self, x, cond, mask=None, skip=None):
        norm, add_offset = partial(GroupNorm, self.groups, self.compute, swish=True), self.compute.forms.add_offset
        conv = partial(Conv, self.width, self.compute)
        zeros, parts = nn.initializers.zeros, (x,) if skip is None else (x, skip)
        h, x = norm(keep=True, name="norm_0")(*parts)
        h = conv(name="conv_0")(h)
        shift = nn.Dense(self.width, use_bias=False, kernel_init=zeros, name="cond")(cond)
        h = norm(dropout=self.dropout, name="norm_1")(h.shifted(shift), mask=mask)
        h = conv(kernel_init=zeros, name="conv_1")(h)
        if x.x.shape != h.x.shape:
            projected, bias = Dense(self.width, self.compute, name="shortcut")(x)
            x, h = Features(projected), h.shifted(bias)
        h = x.plus(add_offset(h))
        return Attention(self.compute, name="attention")(h) if self.attention else h


class Chain(nn.Module):
    """Equal blocks (with separate parameters), one after the other.

    The parameters are stacked along a leading axis whether the chain is scanned or unrolled, so a checkpoint fits both.
    Scanned chains compile faster. They run slower for two reasons: on CPUs the convolutions of a loop run on one
    thread, and the arrays that are saved for the backward pass are copied into stacks. By the compiler's estimate for a
    v5e, a step of `cifar10:vdm-8` takes 1.7 times the cycles, and half of the time to compile.

    Attributes:
      layers: number of blocks.
      make: makes a block (h, cond, mask, skip) -> h.
      compute: how it is computed.
    """

    layers: int
    make: Callable[..., nn.Module]
    compute: Compute

    @nn.compact
    def __call__(self, h, cond, masks, skips=None):
        """Apply the blocks.

        Args:
          h: features, arrays with a leading axis [B, ...] or [1, ...].
          cond: [B, D].
          masks: one mask per block from `draw_masks`, or None.
          skips: the skip connections of the `layers` blocks, each like h: a list, or stacked arrays if the chain is
            scanned; or None.

        Returns:
          The output of the last block, and the outputs of all blocks in the form of `skips`.
        """
        block = self.make(parent=None)
        example = jax.tree.map(lambda a: jnp.zeros((1, *a.shape[1:]), a.dtype), h)

        def init(key):
            keys, skip = jax.random.split(key, self.layers), None if skips is None else example
            return jax.vmap(lambda k: block.init(k, example, cond[:1], None, skip)["params"])(keys)

        params = self.param("blocks", init)

        # Jitted so that alike layers are traced once.
        apply: Callable = jax.jit(lambda params, *inputs: block.apply({"params": params}, *inputs))
        scan, remat = self.compute.scan, self.compute.remat
        if remat != "none":
            apply = jax.checkpoint(apply, prevent_cse=not scan, policy=REMAT[remat])

        if scan:
            shared, places = stack_masks(masks)

            def body(h, layer):
                layer_params, place, skip = layer
                h = apply(layer_params, h, cond, None if place is None else Mask(cast(jax.Array, shared), *place), skip)
                return h, h

            return jax.lax.scan(body, h, (params, places, skips))
        outputs = []
        slices = unstack(params, self.layers, self.compute.forms.barrier)
        for layer_params, mask, skip in zip(slices, masks, skips or [None] * self.layers, strict=True):
            h = apply(layer_params, h, cond, mask, skip)
            outputs.append(h)
        return h, outputs


class Head(nn.Module):
    """An additional head on a network's last features: two blocks and an output layer.

    The head estimates another quantity than the network's output, and has a separate loss. In training no gradient
    flows back through its inputs, so that the network does not depend on the head. Elsewhere the head has the
    derivative by the network's input that a flow needs for its divergence.

    Attributes:
      make: makes a block (h, cond, mask, skip) -> h.
      output: the output layer (h, cond) -> image, which may create submodules.
      dropout: dropout rate.
    """

    make: Callable[..., nn.Module]
    output: Callable[[jax.Array, jax.Array], jax.Array]
    dropout: float

    @nn.compact
    def __call__(self, h, cond, hidden_shape, dropout_key):
        """The image for features h and cond, [B, D]; dropout is applied to arrays of `hidden_shape`.

        `dropout_key` is None outside training.
        """
        key = None
        if dropout_key is not None:
            h, cond = jax.lax.stop_gradient((h, cond))
            # The network's blocks split the same key, and other heads use the same masks.
            key = jax.random.fold_in(dropout_key, 1)
        for i, mask in enumerate(draw_masks(key, self.dropout, [hidden_shape] * 2)):
            h = self.make(name=f"block_{i}")(h, cond, mask)
        return self.output(h, cond)
