"""A U-Net with a choice for each part of its shape."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import REQUIRED, at_least, count, key
from diffenc_jax.nets.attention import Attention
from diffenc_jax.nets.blocks import ResnetBlock
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.conv import Conv, Dense, Unpool
from diffenc_jax.nets.embeddings import WIDTHS, TimeEmbedding, fourier_features
from diffenc_jax.nets.kernels.features import Features
from diffenc_jax.nets.network import ScoreNetwork, periods
from diffenc_jax.nets.norms import GroupNorm
from diffenc_jax.nets.transformer import from_patches, to_patches
from diffenc_jax.nets.unet import max_pool, to_image


class Shaped(ScoreNetwork):
    """The blocks, attention and output of `UNet`, on levels of any length and width.

    The published shape is `blocks=(layers,)`, `skips=block`, but for the additional block that `UNet` has on the way up
    without poolings. One pooling of `UNet` is `blocks=(layers,)`, `pools=1`.
    """

    width: int = key(doc="Unit of the channels.", limits=WIDTHS)
    groups: int = count(REQUIRED, "Number of groups of the norms.")
    fourier_bins: tuple[float, ...] = periods("widths of a pixel's bin")
    blocks: tuple[int, ...] = key(
        (3,), "Residual blocks of each level on the way down, and as many on the way up.", limits=at_least(0)
    )
    channels: tuple[int, ...] = key((1,), "Channels of each level in units of the width.", limits=at_least(1))
    pools: int = key(0, "Poolings after the last level: 0, or 1 for a middle of the last level's channels.")
    pooling: str = key("max", "How 2x2 pixels become one.", choices=("max", "mean", "patches"))
    stem: int = count(1, "Side of the squares of pixels that the first convolution reads as one.")
    skips: str = key("level", "What has a skip connection: a level, or each of its blocks.", choices=("level", "block"))
    attention_at: str = key("middle", "Where attention stands.", choices=("none", "middle", "pooled"))
    heads: int = count(1, "Heads of the attention.")

    dropout = 0.0  # of the additional heads

    def check(self, path, shape):
        require(len(shape) == 3, f"{path} is for images")
        require(len(self.blocks) == len(self.channels), f"{path}.blocks and {path}.channels must be equally long")
        side = self.stem * 2 ** (len(self.blocks) - 1 + self.pools)
        require(not any(size % side for size in shape[:2]), f"{path}: the sides must be multiples of {side}")

    @nn.compact
    def __call__(self, x, time, dropout_key=None, condition=None, with_heads=False):
        """The output; if `with_heads`, the pair (output, outputs of the heads by name)."""
        window, (b, height, width, c) = (self.stem, self.stem), x.shape
        patched = (b, height // self.stem, width // self.stem, -1)
        cond = TimeEmbedding(self.width, name="time")(time, condition)
        inputs = to_patches(fourier_features(x, self.fourier_bins, self.bin_width), window).reshape(patched)
        h = self.compute.forms.add_offset(Conv(self.width * self.channels[0], self.compute, name="conv_in")(inputs))
        h = self._level(h, cond, 0)
        values, compute = self.stem**2 * self.outputs * c, replace(self.compute, remat="none")

        def output(h, _):
            image = to_image(h, self.groups, compute, (*h.x.shape[:3], values))
            return from_patches(image.reshape(b, -1, values), (b, height, width, self.outputs * c), window)

        block = partial(ResnetBlock, h.x.shape[-1], self.groups, 0.0, compute)
        return self.finish(h, cond, output, block, h.x.shape, None, with_heads)

    def _level(self, h: Features, cond: jax.Array, level: int) -> Features:
        """Blocks, everything below them, and blocks."""
        channels, last = self.width * self.channels[level], level == len(self.blocks) - 1
        pooled_attention = self.attention_at == "pooled" and level > 0

        def block(way: str, i: int) -> nn.Module:
            block = nn.remat(ResnetBlock) if self.compute.remat != "none" else ResnetBlock
            return block(channels, self.groups, 0.0, self.compute, pooled_attention, name=f"{way}_{level}_{i}")

        outputs = [h]
        for i in range(self.blocks[level]):
            outputs.append(h := block("down", i)(h, cond))
        if last and not self.pools:
            h = self._middle(h, cond)
        else:
            below = Pool(self.pooling, self.compute, name=f"pool_{level}")(h)
            below = self._middle(below, cond) if last else self._level(below, cond, level + 1)
            h = Unpool(channels, self.compute, name=f"unpool_{level}")(below.sum())
        for i in range(self.blocks[level]):
            skip = outputs[-1 - i] if i == 0 or self.skips == "block" else None
            h = block("up", i)(h, cond, None, skip)
        return h

    def _middle(self, h: Features, cond: jax.Array) -> Features:
        block = partial(ResnetBlock, h.x.shape[-1], self.groups, 0.0, self.compute)
        h = block(name="mid_0")(h, cond)
        if self.attention_at != "none":
            kind = Attention(self.compute, name="attention") if self.heads == 1 else Heads(self.heads, self.compute)
            h = kind(h)
        return block(name="mid_1")(h, cond)


class Pool(nn.Module):
    """Features [B, H, W, C] -> [B, H/2, W/2, C]: maximum, mean, or a product of the 4 C values of 2x2 pixels."""

    kind: str
    compute: Compute

    @nn.compact
    def __call__(self, h: Features) -> Features:
        (b, height, width, c), x = h.x.shape, h.x
        if self.kind == "max":
            return Features(max_pool(x), h.offset)
        if self.kind == "mean":
            return Features(x.reshape(b, height // 2, 2, width // 2, 2, c).mean((2, 4)), h.offset)
        patches = to_patches(h.sum(), (2, 2)).reshape(b, height // 2, width // 2, 4 * c)
        return self.compute.forms.add_offset(Dense(c, self.compute, name="product")(Features(patches)))


class Heads(nn.Module):
    """`Attention` with several heads."""

    heads: int
    compute: Compute

    @nn.compact
    def __call__(self, h: Features) -> Features:
        b, height, width, c = h.x.shape
        normed, h = GroupNorm(min(32, c), self.compute, keep=True, name="norm")(h)

        def tokens(name: str) -> jax.Array:
            values = Dense(c, self.compute, name=name)(Features(normed)).sum()
            split = values.reshape(b, height * width, self.heads, -1).swapaxes(1, 2)
            return split.reshape(b * self.heads, height * width, -1)

        mixed = self.compute.forms.attend(tokens("query"), tokens("key"), tokens("value"), self.compute.scan)
        joined = jnp.swapaxes(mixed.reshape(b, self.heads, height * width, -1), 1, 2).reshape(h.x.shape)
        out = Dense(c, self.compute, nn.initializers.zeros, name="out")(Features(joined))
        return h.plus(self.compute.forms.add_offset(out))
