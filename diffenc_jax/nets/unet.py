"""The U-Net that serves as score network and as encoder."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.config import require
from diffenc_jax.nets.attention import ATTENTION_GROUPS, Attention
from diffenc_jax.nets.blocks import REMAT, Chain, ResnetBlock, block_drops
from diffenc_jax.nets.conv import Conv, ImageConv, multiply
from diffenc_jax.nets.dropout import check_rate
from diffenc_jax.nets.embeddings import TimeEmbedding, check_width, fourier_features
from diffenc_jax.nets.norms import GroupNorm


class UNet(nn.Module):
    """[B, H, W, C], [B] -> [B, H, W, C] in float32, zero at initialisation.

    Attributes:
      width: channels at full resolution; doubled at each pooled level.
      layers: residual blocks on the way down (one more on the way up without pooling).
      levels: 2x2 poolings; 0 keeps every block at full resolution, with one skip a block.
        Otherwise floor(layers / levels) blocks a level, with one skip a level.
      groups, mid_groups, out_groups: of the norms in the outer blocks, the middle, the output.
      dropout: rate inside the blocks.
      fourier_bins: periods of the Fourier features appended to the input, in widths of a pixel's bin; or ().
      pixel_levels: into how many bins the images' pixels fall.
      dtype: what the blocks compute in; time, Fourier features, the norms' statistics and the
        output are float32 always.
      scan: see `Chain`; it concerns the unpooled chains.
      remat: a name of `REMAT`: what the backward pass finds kept of the blocks.
      derivative: whether there is a second head, see `DerivativeHead`.
    """

    width: int
    layers: int
    levels: int
    groups: int
    mid_groups: int
    out_groups: int
    dropout: float
    fourier_bins: tuple[float, ...]
    pixel_levels: int = 256
    dtype: Any = jnp.float32
    scan: bool = False
    remat: str = "none"
    derivative: bool = False

    def check(self, path: str, shape: tuple[int, int, int]) -> None:
        """Raises InputError, naming keys of `path`, where it cannot be built for images of `shape`."""
        check_width(path, self.width)
        require(self.layers >= 1, f"{path}.layers must be at least 1, not {self.layers}")
        check_rate(path, self.dropout)
        require(0 <= self.levels <= self.layers, f"{path}.levels must lie in 0 .. layers = {self.layers}")
        positive = all(isinstance(b, int | float) and b > 0 for b in self.fourier_bins)
        require(positive, f"{path}.fourier_bins must be positive numbers, not {self.fourier_bins}")
        side = 2**self.levels
        require(
            shape[0] % side == 0 and shape[1] % side == 0,
            f"{path}.levels={self.levels} pools height and width {self.levels} times and needs multiples of {side}; "
            f"the images are {shape[0]}x{shape[1]}",
        )
        middle = self.width * 2 ** max(self.levels - 1, 0)
        for name, channels in (("groups", self.width), ("mid_groups", middle), ("out_groups", self.width)):
            groups = getattr(self, name)
            require(
                groups >= 1 and channels % groups == 0,
                f"{path}.{name}={groups} does not divide the {channels} channels that it norms",
            )
        require(
            middle % ATTENTION_GROUPS == 0,
            f"{path}: attention norms in {ATTENTION_GROUPS} groups; its {middle} channels are not a multiple",
        )

    @nn.compact
    def __call__(
        self, x: jax.Array, time: jax.Array, dropout_key: jax.Array | None = None, with_derivative: bool = False
    ) -> jax.Array | tuple[jax.Array, jax.Array]:
        """The output; and the second head's, `with_derivative`, which without is not computed."""
        cond = TimeEmbedding(self.width, name="time")(time)
        # Two bins' width 2/V a period is V/4 cycles a unit.
        cycles = tuple(self.pixel_levels / (2 * bins) for bins in self.fourier_bins)
        h = fourier_features(x, cycles) if cycles else x
        h = Conv(self.width, self.dtype, name="conv_in")(h)
        body = self._pooled if self.levels else self._flat
        h = body(h, cond, dropout_key)
        out = to_image(h, self.out_groups, x.shape[-1])
        if not (with_derivative or (self.derivative and self.is_initializing())):
            return out
        head = DerivativeHead(self.groups, self.out_groups, self.dropout, self.dtype, self.scan, name="derivative")
        second = head(jax.lax.stop_gradient(h), jax.lax.stop_gradient(cond), x.shape[-1], dropout_key)
        return (out, second) if with_derivative else out

    def _middle(self, h, cond, drops):
        again = self.remat == "none"
        block = h.shape[-1], self.mid_groups, self.dropout, self.dtype, again
        h = ResnetBlock(*block, name="mid_0")(h, cond, drops[0])
        h = Attention(self.dtype, again, name="attention")(h)
        return ResnetBlock(*block, name="mid_1")(h, cond, drops[1])

    def _flat(self, h, cond, dropout_key):
        layers = self.layers
        drops = block_drops(dropout_key, [h.shape] * (2 * layers + 3), self.dropout, self.scan)
        block = partial(ResnetBlock, self.width, self.groups, self.dropout, self.dtype, self.remat == "none")
        first = h
        h, outputs = Chain(layers, block, self.scan, self.remat, name="down")(h, cond, drops[:layers])
        if self.scan:
            skips = jnp.concatenate([outputs[::-1], first[None]])
        else:
            skips = [*outputs[::-1], first]
        h = self._middle(h, cond, drops[layers : layers + 2])
        h, _ = Chain(layers + 1, block, self.scan, self.remat, name="up")(h, cond, drops[layers + 2 :], skips)
        return h

    def _pooled(self, h, cond, dropout_key):
        blocks = self.layers // self.levels
        block = ResnetBlock if self.remat == "none" else nn.remat(ResnetBlock, policy=REMAT[self.remat])
        make = lambda level, name: block(  # noqa: E731
            self.width * 2**level, self.groups, self.dropout, self.dtype, self.remat == "none", name=name
        )
        drops = iter(block_drops(dropout_key, self._pooled_shapes(h.shape), self.dropout, self.scan))
        kept = []
        for level in range(self.levels):
            for i in range(blocks):
                h = make(level, f"down_{level}_{i}")(h, cond, next(drops))
            kept.append(h)
            h = max_pool(h)
        h = self._middle(h, cond, [next(drops), next(drops)])
        for level in reversed(range(self.levels)):
            width = self.width * 2**level
            h = Unpool(width, self.dtype, name=f"unpool_{level}")(h)
            h = jnp.concatenate([h, kept[level]], axis=-1)
            for i in range(blocks):
                h = make(level, f"up_{level}_{i}")(h, cond, next(drops))
        return h

    def _pooled_shapes(self, shape):
        """Of the hidden arrays of all blocks, one after the other, for features of `shape`."""
        b, height, width, _ = shape
        sizes = [(b, height // 2**level, width // 2**level) for level in range(self.levels + 1)]
        down = [(*sizes[level], self.width * 2**level) for level in range(self.levels)]
        down = [shape for shape in down for _ in range(self.layers // self.levels)]
        middle = (*sizes[-1], down[-1][-1])
        return [*down, middle, middle, *reversed(down)]


class DerivativeHead(nn.Module):
    """The U-Net's last features [B, H, W, C], and its time vector, -> [B, H, W, channels] in float32.

    Two residual blocks on top of the features. It estimates another quantity than the U-Net's output and learns
    by a loss of its own, from inputs that carry no gradient back: what the U-Net learns does not depend on it.
    """

    groups: int
    out_groups: int
    dropout: float
    dtype: Any
    scan: bool

    @nn.compact
    def __call__(self, h: jax.Array, cond: jax.Array, channels: int, dropout_key: jax.Array | None) -> jax.Array:
        # The U-Net's blocks split the same key.
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, 1)
        for i, drop in enumerate(block_drops(key, [h.shape] * 2, self.dropout, self.scan)):
            block = ResnetBlock(h.shape[-1], self.groups, self.dropout, self.dtype, True, name=f"block_{i}")
            h = block(h, cond, drop)
        return to_image(h, self.out_groups, channels)


def to_image(h: jax.Array, groups: int, channels: int) -> jax.Array:
    """[B, H, W, C] -> [B, H, W, channels] in float32, zero at initialisation; to be called in a compact module."""
    return ImageConv(channels, name="conv_out")(GroupNorm(groups, jnp.float32, swish=True, name="norm_out")(h))


class Unpool(nn.Module):
    """[B, H, W, C] -> [B, 2 H, 2 W, width]: the transposed 2x2 convolution of stride 2.

    Its windows do not overlap, so it is one product, of which each pixel gives four. As a convolution it is one over an
    image that is zero at three pixels of four.
    """

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        shape = (2, 2, h.shape[-1], self.width)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        h, kernel, bias = (a.astype(self.dtype) for a in (h, kernel, bias))
        b, height, width, c = h.shape
        # A convolution meets its kernel's last row first.
        kernel = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(c, -1)
        pixels = multiply(h, kernel).reshape(b, height, width, 2, 2, self.width) + bias
        return pixels.swapaxes(2, 3).reshape(b, 2 * height, 2 * width, self.width)


def max_pool(h: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H/2, W/2, C], the maximum over 2x2 windows."""
    b, height, width, c = h.shape
    return h.reshape(b, height // 2, 2, width // 2, 2, c).max(axis=(2, 4))
