"""A small vision transformer that serves as score network and as encoder network."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.core.errors import InputError
from diffenc_jax.core.keys import FRACTION, REQUIRED, count, key
from diffenc_jax.nets.blocks import Chain
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.embeddings import HIGHEST, WIDTHS, TimeEmbedding, fourier_features
from diffenc_jax.nets.kernels.dropout import draw_masks, dropout
from diffenc_jax.nets.kernels.norm import EPSILON
from diffenc_jax.nets.network import ScoreNetwork, as_image, check_positions, periods

EXPANSION = 4  # width of a block's perceptron in widths of a token


class Transformer(ScoreNetwork):
    """Patches with learned positions (arXiv 2010.11929), and blocks modulated by the time (arXiv 2212.09748).

    Long skip connections (arXiv 2209.12152) are optional.
    """

    patch: int = count(REQUIRED, "Side of the squares that the image is cut into, one token per square.")
    width: int = key(doc="Channels of a token.", limits=WIDTHS)
    layers: int = count(REQUIRED, "Number of blocks.")
    heads: int = count(REQUIRED, "Number of heads of the attention.")
    dropout: float = key(doc="Dropout rate in the blocks.", limits=FRACTION)
    fourier_bins: tuple[float, ...] = periods("widths of a pixel's bin")
    skip_connections: bool = key(
        doc="Whether the last floor(layers / 2) blocks take, besides their inputs, the outputs of the first ones in "
        "reverse order. With an odd number of layers the middle block has none."
    )

    def check(self, path: str, shape: tuple[int, ...]) -> None:
        """Raise InputError, naming keys of `path`, if the network cannot be built for images or series of `shape`."""
        check_positions(path, shape)
        if self.width % self.heads:
            raise InputError(f"{path}.heads={self.heads} does not divide the width {self.width}")
        if any(size % self.patch for size in shape[:-1]):
            size = "x".join(map(str, shape[:-1]))
            raise InputError(f"{path}.patch={self.patch} does not divide the sides of the images, {size}")

    @nn.compact
    def __call__(self, x, time, dropout_key=None, condition=None, with_heads=False):
        """The output; if `with_heads`, the pair (output, outputs of the heads by name)."""
        cond = TimeEmbedding(self.width, name="time")(time, condition)
        window = self.compute.window(self.patch)
        patches = to_patches(as_image(fourier_features(x, self.fourier_bins, self.bin_width)), window)
        batch, tokens, _ = patches.shape
        positions = self.param("positions", nn.initializers.normal(0.02), (tokens, self.width), jnp.float32)
        h = nn.Dense(self.width, dtype=self.compute.dtype, name="embed")(patches) + positions.astype(self.compute.dtype)

        block = partial(TransformerBlock, self.width, self.heads, self.dropout, self.compute)
        hidden = (batch, tokens, EXPANSION * self.width)
        masks = draw_masks(dropout_key, self.dropout, [hidden] * self.layers)
        joined = self.layers // 2 if self.skip_connections else 0
        plain = self.layers - joined
        h, outputs = Chain(plain, block, self.compute, name="blocks")(h, cond, masks[:plain])
        if joined:
            chain = Chain(joined, block, self.compute, name="joined_blocks")
            h, _ = chain(h, cond, masks[plain:], outputs[:joined][::-1])

        shape = (*x.shape[:-1], self.outputs * x.shape[-1])
        output = partial(tokens_to_image, shape=shape, window=window)
        return self.finish(h, cond, output, block, hidden, dropout_key, with_heads)


class TransformerBlock(nn.Module):
    """Tokens [B, N, C] -> [B, N, width], conditioned on [B, D]; `mask` as in `dropout`.

    A skip connection [B, N, C] is joined to the tokens.

    h = x + g_1 attention(norm(x) (1 + a_1) + b_1), then h + g_2 perceptron(norm(h) (1 + a_2) + b_2), with a, b and g
    linear in the conditioning vector and zero at initialisation: adaLN-Zero of arXiv 2212.09748. If C differs from
    `width`, tokens are projected first.
    """

    width: int
    heads: int
    dropout: float
    compute: Compute

    @nn.compact
    def __call__(self, x, cond, mask=None, skip=None):
        width, dtype = self.width, self.compute.dtype
        x = x if skip is None else self.compute.forms.join(x, skip)
        if x.shape[-1] != width:
            x = nn.Dense(width, dtype=dtype, name="shortcut")(x)
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = modulation(cond, 6, width, dtype, "cond")
        attention = nn.MultiHeadAttention(
            self.heads, dtype=dtype, deterministic=True, force_fp32_for_softmax=True, name="attention"
        )
        x = x + gate_1 * attention(adapted_norm(x, scale_1, shift_1, dtype))
        h = nn.Dense(EXPANSION * width, dtype=dtype, name="dense_0")(adapted_norm(x, scale_2, shift_2, dtype))
        h = dropout(nn.gelu(h), self.dropout, mask)
        return x + gate_2 * nn.Dense(width, dtype=dtype, name="dense_1")(h)


def tokens_to_image(h: jax.Array, cond: jax.Array, shape: tuple[int, ...], window: tuple[int, int]) -> jax.Array:
    """Tokens [B, N, C] -> data of `shape` in float32, zero at initialisation; to be called in a compact module."""
    scale, shift = modulation(cond, 2, h.shape[-1], jnp.float32, "cond_out")
    h = adapted_norm(h, scale, shift, jnp.float32)
    zeros, values = nn.initializers.zeros, math.prod(window) * shape[-1]
    return from_patches(nn.Dense(values, kernel_init=zeros, precision=HIGHEST, name="out")(h), shape, window)


def modulation(cond: jax.Array, parts: int, width: int, dtype: Any, name: str) -> list[jax.Array]:
    """`parts` arrays [B, 1, width], linear in `cond` [B, D], zero at initialisation; for use in a compact module."""
    dense = nn.Dense(parts * width, kernel_init=nn.initializers.zeros, dtype=dtype, name=name)
    return jnp.split(dense(cond)[:, None, :], parts, axis=-1)


def adapted_norm(x: jax.Array, scale: jax.Array, shift: jax.Array, dtype: Any) -> jax.Array:
    """norm(x) (1 + scale) + shift in `dtype`, the norm over a token's channels with statistics in float32."""
    norm = nn.LayerNorm(EPSILON, dtype=dtype, use_bias=False, use_scale=False)
    return norm(x) * (1.0 + scale) + shift


def to_patches(x: jax.Array, window: tuple[int, int]) -> jax.Array:
    """[B, H, W, C] -> [B, number of windows, values of a window], row by row."""
    (b, height, width, c), (rows, columns) = x.shape, window
    x = x.reshape(b, height // rows, rows, width // columns, columns, c)
    return x.swapaxes(2, 3).reshape(b, -1, rows * columns * c)


def from_patches(patches: jax.Array, shape: tuple[int, ...], window: tuple[int, int]) -> jax.Array:
    """Inverse of `to_patches` for an image or series of `shape`, [B, H, W, C] or [B, L, C]."""
    (b, height, *width, c), (rows, columns) = shape, window
    x = patches.reshape(b, height // rows, math.prod(width) // columns, rows, columns, c)
    return x.swapaxes(2, 3).reshape(shape)
