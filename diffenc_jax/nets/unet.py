"""The U-Net that serves as score network and as encoder network."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.keys import FRACTION, REQUIRED, count, key
from diffenc_jax.nets.attention import Attention, attention_groups
from diffenc_jax.nets.blocks import REMAT, Chain, ResnetBlock
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.conv import Conv, ImageConv, Unpool
from diffenc_jax.nets.embeddings import WIDTHS, TimeEmbedding, fourier_features
from diffenc_jax.nets.kernels.dropout import draw_masks
from diffenc_jax.nets.kernels.features import Features
from diffenc_jax.nets.network import ScoreNetwork, as_image, check_positions, periods, time_scale
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
    fourier_bins: tuple[float, ...] = periods("widths of a pixel's bin")
    attention: bool = key(False, "Whether attention follows every block, and not only the first one of the middle.")
    padding: str = key(
        "zero",
        "What the convolutions see beyond the edges of an image: zeros, or its opposite edges, for data on a torus. "
        "Periodic, the network commutes with shifts by multiples of 2**levels.",
        choices=("zero", "periodic"),
    )
    time_scale: float = time_scale()

    def check(self, path: str, shape: tuple[int, ...]) -> None:
        """Raise InputError, naming keys of `path`, if the network cannot be built for images or series of `shape`."""
        check_positions(path, shape)
        require(0 <= self.levels <= self.layers, f"{path}.levels must lie in 0 .. layers = {self.layers}")
        side = 2**self.levels
        if any(size % side for size in shape[:-1]):
            pools = f"{path}.levels={self.levels} pools {self.levels} times and needs multiples of {side}"
            raise InputError(f"{pools}; the sides are {'x'.join(map(str, shape[:-1]))}")
        middle = self.width * 2 ** max(self.levels - 1, 0)
        for name, channels in (("groups", self.width), ("mid_groups", middle), ("out_groups", self.width)):
            groups = getattr(self, name)
            require(channels % groups == 0, f"{path}.{name}={groups} does not divide its {channels} channels")
        for channels in {middle, self.width if self.attention else middle}:
            groups, norm = attention_groups(channels), f"the {channels} channels of an attention's norm"
            require(channels % groups == 0, f"{path}.width: {groups} must divide {norm}")

    @property
    def how(self) -> Compute:
        """`compute` with the padding."""
        return replace(self.compute, periodic=self.padding == "periodic")

    @nn.compact
    def __call__(self, x, time, dropout_key=None, condition=None, with_heads=False):
        """The output; if `with_heads`, the pair (output, outputs of the heads by name)."""
        shape, x = x.shape, as_image(x)
        inputs, condition = self.inputs(x, condition)
        cond = TimeEmbedding(self.width, self.time_scale, name="time")(time, condition)
        h = self.compute.forms.add_offset(Conv(self.width, self.how, name="conv_in")(inputs))
        h = (self._pooled if self.levels else self._flat)(h, cond, dropout_key)
        out_shape = (*shape[:-1], self.outputs * shape[-1])
        output = lambda h, _: to_image(h, self.out_groups, self.how, out_shape)  # noqa: E731
        compute = replace(self.how, remat="none")
        block = partial(ResnetBlock, self.width, self.groups, self.dropout, compute)
        return self.finish(h, cond, output, block, h.x.shape, dropout_key, with_heads)

    def inputs(self, x: jax.Array, condition: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
        """Inputs [B, H, W, D] of the first convolution, and the condition of the blocks beside the time.

        A subclass may make parts of the condition [B, K] inputs of the first convolution.
        """
        return fourier_features(x, self.fourier_bins, self.bin_width), condition

    def _middle(self, h, cond, masks):
        block = partial(ResnetBlock, h.x.shape[-1], self.mid_groups, self.dropout, self.how)
        h = block(name="mid_0")(h, cond, masks[0])
        h = Attention(self.compute, name="attention")(h)
        return block(name="mid_1")(h, cond, masks[1])

    def _flat(self, h, cond, dropout_key):
        """All blocks at full resolution, with one skip connection per block."""
        compute, layers = self.how, self.layers
        masks = draw_masks(dropout_key, self.dropout, [h.x.shape] * (2 * layers + 3))
        block = partial(ResnetBlock, self.width, self.groups, self.dropout, compute, self.attention)
        first = h
        h, outputs = Chain(layers, block, compute, name="down")(h, cond, masks[:layers])
        h = self._middle(h, cond, masks[layers : layers + 2])
        if compute.scan:
            skips = jax.tree.map(lambda a, first: jnp.concatenate([a[::-1], first[None]]), outputs, first)
        else:
            skips = [*outputs[::-1], first]
        h, _ = Chain(layers + 1, block, compute, name="up")(h, cond, masks[layers + 2 :], skips)
        return h

    def _pooled(self, h, cond, dropout_key):
        """Levels of halved resolution and doubled width, with one skip connection per level."""
        compute, levels, blocks = self.how, range(self.levels), range(self.layers // self.levels)
        batch, height, width, _ = h.x.shape
        rows, columns = self.compute.window(2)

        def shape(level, channels):
            return batch, height // rows**level, width // columns**level, channels

        channels = [self.width << i for i in levels]
        down = [shape(i, channels[i]) for i in levels for _ in blocks]
        middle = shape(self.levels, channels[-1])
        masks = iter(draw_masks(dropout_key, self.dropout, [*down, middle, middle, *down[::-1]]))
        kind = ResnetBlock if compute.remat == "none" else nn.remat(ResnetBlock, policy=REMAT[compute.remat])

        def apply_blocks(h, way, i, skip=None):
            for j in blocks:
                block = kind(channels[i], self.groups, self.dropout, compute, self.attention, name=f"{way}_{i}_{j}")
                h = block(h, cond, next(masks), skip if j == 0 else None)
            return h

        skips = []
        for i in levels:
            skips.append(h := apply_blocks(h, "down", i))
            h = Features(max_pool(h.x, self.compute.axes), h.offset)
        h = self._middle(h, cond, [next(masks), next(masks)])
        for i in reversed(levels):
            h = Unpool(channels[i], compute, name=f"unpool_{i}")(h.sum())
            h = apply_blocks(h, "up", i, skips[i])
        return h


def to_image(h: Features, groups: int, compute: Compute, shape: tuple[int, ...]) -> jax.Array:
    """Features -> image or series of `shape` in float32, zero at initialisation; to be called in a compact module."""
    compute = replace(compute, dtype=jnp.float32, remat="none")
    normed = GroupNorm(groups, compute, swish=True, name="norm_out")(h)
    return ImageConv(shape[-1], compute, name="conv_out")(normed).reshape(shape)


def max_pool(h: jax.Array, axes: int = 2) -> jax.Array:
    """Maximum over 2x2 windows, [B, H, W, C] -> [B, H/2, W/2, C]; over 2x1 windows if only one axis is pooled."""
    rows = jnp.maximum(h[:, ::2], h[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2]) if axes == 2 else rows
