"""A small vision transformer, as an encoder's network."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.config import require
from diffenc_jax.nets.blocks import Chain, block_drops
from diffenc_jax.nets.dropout import check_rate, dropout
from diffenc_jax.nets.embeddings import HIGHEST, TimeEmbedding, check_width

EPSILON = 1e-6
EXPANSION = 4  # of the width, inside a block's perceptron


class Transformer(nn.Module):
    """[B, H, W, C], [B] -> [B, H, W, C] in float32, zero at initialisation.

    Patches, with learned positions (arXiv 2010.11929), through blocks that the time modulates (arXiv 2212.09748).

    Attributes:
      patch: side of the squares that the image is cut into, each one token.
      width: channels of a token.
      layers: blocks.
      heads: of the attention.
      dropout: rate inside the blocks.
      dtype: what the blocks compute in; time, the norms' statistics, the attention's softmax and the output are
        float32 always.
      scan, remat: see `Chain`.
    """

    patch: int
    width: int
    layers: int
    heads: int
    dropout: float
    dtype: Any = jnp.float32
    scan: bool = False
    remat: str = "none"

    def check(self, path: str, shape: tuple[int, int, int]) -> None:
        """Raises InputError, naming keys of `path`, where it cannot be built for images of `shape`."""
        check_width(path, self.width)
        require(self.layers >= 1, f"{path}.layers must be at least 1, not {self.layers}")
        check_rate(path, self.dropout)
        require(
            self.heads >= 1 and self.width % self.heads == 0,
            f"{path}.heads={self.heads} does not divide the width {self.width}",
        )
        require(
            self.patch >= 1 and shape[0] % self.patch == 0 and shape[1] % self.patch == 0,
            f"{path}.patch={self.patch} does not divide height and width; the images are {shape[0]}x{shape[1]}",
        )

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        cond = TimeEmbedding(self.width, name="time")(time)
        patches = to_patches(x, self.patch)
        batch, tokens, values = patches.shape
        positions = self.param("positions", nn.initializers.normal(0.02), (tokens, self.width), jnp.float32)
        h = nn.Dense(self.width, dtype=self.dtype, name="embed")(patches) + positions.astype(self.dtype)
        drops = block_drops(
            dropout_key, [(batch, tokens, EXPANSION * self.width)] * self.layers, self.dropout, self.scan
        )
        block = partial(TransformerBlock, self.heads, self.dropout, self.dtype)
        h, _ = Chain(self.layers, block, self.scan, self.remat, name="blocks")(h, cond, drops)
        (scale, shift), zeros = modulation(cond, 2, self.width, jnp.float32, "cond_out"), nn.initializers.zeros
        h = adapted_norm(h, scale, shift, jnp.float32)
        return from_patches(nn.Dense(values, kernel_init=zeros, precision=HIGHEST, name="out")(h), x.shape, self.patch)


class TransformerBlock(nn.Module):
    """Tokens [B, N, C] -> [B, N, C], conditioned on [B, D]; changes nothing at initialisation. `drop`: see `dropout`.

    h = x + g_1 attention(norm(x) (1 + a_1) + b_1), then h + g_2 perceptron(norm(h) (1 + a_2) + b_2), with a, b and g
    linear in the conditioning vector: adaLN-Zero of arXiv 2212.09748.
    """

    heads: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, cond: jax.Array, drop: jax.Array | None = None) -> jax.Array:
        width = x.shape[-1]
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = modulation(cond, 6, width, self.dtype, "cond")
        attention = nn.MultiHeadAttention(
            self.heads, dtype=self.dtype, deterministic=True, force_fp32_for_softmax=True, name="attention"
        )
        x = x + gate_1 * attention(adapted_norm(x, scale_1, shift_1, self.dtype))
        h = nn.Dense(EXPANSION * width, dtype=self.dtype, name="dense_0")(adapted_norm(x, scale_2, shift_2, self.dtype))
        h = dropout(nn.gelu(h), self.dropout, drop)
        return x + gate_2 * nn.Dense(width, dtype=self.dtype, name="dense_1")(h)


def modulation(cond: jax.Array, parts: int, width: int, dtype: Any, name: str) -> list[jax.Array]:
    """So many [B, 1, width], linear in [B, D] and zero at initialisation; to be called in a compact module."""
    dense = nn.Dense(parts * width, kernel_init=nn.initializers.zeros, dtype=dtype, name=name)
    return jnp.split(dense(cond)[:, None, :], parts, axis=-1)


def adapted_norm(x: jax.Array, scale: jax.Array, shift: jax.Array, dtype: Any) -> jax.Array:
    """norm(x) (1 + scale) + shift, in `dtype`; the norm is over a token's channels, its statistics in float32."""
    norm = nn.LayerNorm(EPSILON, dtype=dtype, use_bias=False, use_scale=False)
    return norm(x) * (1.0 + scale) + shift


def to_patches(x: jax.Array, side: int) -> jax.Array:
    """[B, H, W, C] -> [B, H/side · W/side, side · side · C], row by row."""
    b, height, width, c = x.shape
    x = x.reshape(b, height // side, side, width // side, side, c)
    return x.swapaxes(2, 3).reshape(b, -1, side * side * c)


def from_patches(patches: jax.Array, shape: tuple[int, ...], side: int) -> jax.Array:
    """The image [B, H, W, C] of `shape` of which these are `to_patches`."""
    b, height, width, c = shape
    x = patches.reshape(b, height // side, width // side, side, side, c)
    return x.swapaxes(2, 3).reshape(shape)
