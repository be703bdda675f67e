"""The U-Net that serves as score network and as encoder network."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import FRACTION, POSITIVE, REQUIRED, count, key
from diffenc_jax.nets.attention import ATTENTION_GROUPS, Attention
from diffenc_jax.nets.blocks import REMAT, Chain, ResnetBlock
from diffenc_jax.nets.conv import Conv, ImageConv, multiply
from diffenc_jax.nets.dropout import draw_masks
from diffenc_jax.nets.embeddings import WIDTHS, TimeEmbedding, fourier_features
from diffenc_jax.nets.lanes import can_pair, channels_of, pair, twice, unpair
from diffenc_jax.nets.network import ScoreNetwork
from diffenc_jax.nets.norms import GroupNorm


class UNet(ScoreNetwork):
    """The U-Net of VDM and DiffEnc, with blocks at full resolution or on pooled levels."""

    width: int = key(doc="Channels at full resolution, doubled at each pooled level.", limits=WIDTHS)
    layers: int = count(REQUIRED, "Residual blocks on the way down (one more on the way up without pooling).")
    levels: int = key(
        doc="Number of 2x2 poolings. With 0 every block is at full resolution and has one skip connection. Otherwise a "
        "level has floor(layers / levels) blocks and one skip connection."
    )
    groups: int = count(REQUIRED, "Number of groups of the norms in the outer blocks.")
    mid_groups: int = count(REQUIRED, "Number of groups of the norms in the middle.")
    out_groups: int = count(REQUIRED, "Number of groups of the norm before the output.")
    dropout: float = key(doc="Dropout rate in the blocks.", limits=FRACTION)
    fourier_bins: tuple[float, ...] = key(
        doc="Periods of the Fourier features appended to the input, in widths of a pixel's bin; or ().",
        limits=POSITIVE,
    )

    repeated = "layers"

    def check(self, path: str, shape: tuple[int, int, int]) -> None:
        """Raise InputError, naming keys of `path`, if it cannot be built for images of `shape`."""
        require(0 <= self.levels <= self.layers, f"{path}.levels must lie in 0 .. layers = {self.layers}")
        side = 2**self.levels
        require(
            shape[0] % side == 0 and shape[1] % side == 0,
            f"{path}.levels={self.levels} pools height and width {self.levels} times and needs multiples of {side}; "
            f"the images are {shape[0]}x{shape[1]}",
        )
        middle = self.width * 2 ** max(self.levels - 1, 0)
        for name, channels in (("groups", self.width), ("mid_groups", middle), ("out_groups", self.width)):
            groups = getattr(self, name)
            require(channels % groups == 0, f"{path}.{name}={groups} does not divide its {channels} channels")
        require(
            middle % ATTENTION_GROUPS == 0,
            f"{path}.width: {ATTENTION_GROUPS} must divide the {middle} channels of the attention's norm",
        )

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        time: jax.Array,
        dropout_key: jax.Array | None = None,
        condition: jax.Array | None = None,
        with_heads: bool = False,
    ) -> jax.Array | tuple[jax.Array, dict[str, jax.Array]]:
        """The output; if `with_heads`, the pair of it and the outputs of the heads, not computed otherwise, by name."""
        cond = TimeEmbedding(self.width, self.conditions, name="time")(time, condition)
        h = fourier_features(x, self.fourier_bins, self.pixel_levels)
        paired = self._paired(x.shape[2], level=0)
        h = Conv(self.width, self.compute.dtype, paired=paired, name="conv_in")(pair(h) if paired else h)
        h = (self._pooled if self.levels else self._flat)(h, cond, dropout_key, x.shape[2])
        output = lambda h, _: to_image(h, self.out_groups, self.outputs * x.shape[-1], paired)  # noqa: E731
        block = partial(ResnetBlock, self.width, self.groups, self.dropout, self.compute.dtype, True, paired)
        return self.finish(h, cond, output, block, h.shape, dropout_key, with_heads)

    def _paired(self, width, level):
        """Whether the arrays of a level are paired, in a network for images of this many pixels in a row."""
        return self.compute.pairs and can_pair(self.width << level, width >> level)

    def _middle(self, h, cond, masks, paired):
        recompute, channels = self.compute.remat == "none", channels_of(h, paired)
        block = partial(ResnetBlock, channels, self.mid_groups, self.dropout, self.compute.dtype, recompute, paired)
        h = block(name="mid_0")(h, cond, masks[0])
        attention = Attention(self.compute.dtype, recompute, self.compute.scan, name="attention")
        h = pair(attention(unpair(h))) if paired else attention(h)
        return block(name="mid_1")(h, cond, masks[1])

    def _flat(self, h, cond, dropout_key, width):
        """All blocks at full resolution, with one skip connection per block."""
        compute, layers, paired = self.compute, self.layers, self._paired(width, level=0)
        recompute = compute.remat == "none"
        masks = draw_masks(dropout_key, self.dropout, [h.shape] * (2 * layers + 3), compute.scan)
        block = partial(ResnetBlock, self.width, self.groups, self.dropout, compute.dtype, recompute, paired)
        first = h
        h, outputs = Chain(layers, block, compute.scan, compute.remat, name="down")(h, cond, masks[:layers])
        h = self._middle(h, cond, masks[layers : layers + 2], paired)
        skips = jnp.concatenate([outputs[::-1], first[None]]) if compute.scan else [*outputs[::-1], first]
        h, _ = Chain(layers + 1, block, compute.scan, compute.remat, name="up")(h, cond, masks[layers + 2 :], skips)
        return h

    def _pooled(self, h, cond, dropout_key, width):
        """Levels of halved resolution and doubled width, with one skip connection per level."""
        compute, levels, blocks = self.compute, range(self.levels), range(self.layers // self.levels)
        channels, paired = [self.width << i for i in levels], [self._paired(width, i) for i in levels]

        def shape(level, channels, paired):
            pixels = 2 if paired else 1
            return len(h), h.shape[1] >> level, (width >> level) // pixels, pixels * channels

        down = [shape(i, channels[i], paired[i]) for i in levels for _ in blocks]
        middle = shape(self.levels, channels[-1], paired=False)
        masks = iter(draw_masks(dropout_key, self.dropout, [*down, middle, middle, *down[::-1]], compute.scan))
        kind = ResnetBlock if compute.remat == "none" else nn.remat(ResnetBlock, policy=REMAT[compute.remat])

        def apply_blocks(h, way, i, skip=None):
            for j in blocks:
                block = (channels[i], self.groups, self.dropout, compute.dtype, compute.remat == "none", paired[i])
                h = kind(*block, name=f"{way}_{i}_{j}")(h, cond, next(masks), skip if j == 0 else None)
            return h

        skips = []
        for i in levels:
            h = apply_blocks(pair(h) if i > 0 and paired[i] else h, "down", i)
            skips.append(h)
            h = max_pool(h, paired[i])
        h = self._middle(h, cond, [next(masks), next(masks)], paired=False)
        for i in reversed(levels):
            h = Unpool(channels[i], compute.dtype, paired[i], name=f"unpool_{i}")(h)
            h = apply_blocks(h, "up", i, skips[i])
            h = unpair(h) if i > 0 and paired[i] else h
        return h


def to_image(h: jax.Array, groups: int, channels: int, paired: bool) -> jax.Array:
    """[B, H, W, C] -> [B, H, W, channels] in float32, zero at initialisation; to be called in a compact module."""
    norm = GroupNorm(groups, jnp.float32, swish=True, paired=paired, name="norm_out")
    return ImageConv(channels, paired, name="conv_out")(norm(h))


class Unpool(nn.Module):
    """Transposed 2x2 convolution of stride 2, [B, H, W, C] -> [B, 2 H, 2 W, width], whose output is paired if `paired`.

    Its windows do not overlap, so it is one product that gives four pixels for each. As a convolution it would be one
    over an image that is zero at three pixels of four.
    """

    width: int
    dtype: Any
    paired: bool = False

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        shape = (2, 2, h.shape[-1], self.width)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        b, height, width, c = h.shape
        # A transposed convolution applies its kernel reversed.
        kernel = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(c, 2, 2 * self.width)
        rows = multiply(h.astype(self.dtype), kernel).swapaxes(2, 3)
        pairs = rows.reshape(b, 2 * height, width, 2 * self.width) + twice(bias).astype(self.dtype)
        return pairs if self.paired else unpair(pairs)


def max_pool(h: jax.Array, paired: bool) -> jax.Array:
    """Maximum over 2x2 windows, [B, H, W, C] -> [B, H/2, W/2, C]; its input may be paired, its output is not."""
    rows = jnp.maximum(h[:, ::2], h[:, 1::2])
    return jnp.maximum(*jnp.split(rows, 2, axis=-1)) if paired else jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])
