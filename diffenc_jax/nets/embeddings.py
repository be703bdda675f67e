"""Embeddings of the time, and Fourier features of images."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.keys import Limits

HIGHEST = jax.lax.Precision.HIGHEST
MAX_PERIOD = 10_000.0
PUBLISHED_SCALE = 1000.0
# Widths that `sinusoids` takes.
WIDTHS = Limits("be even and at least 4", lambda width: width >= 4 and width % 2 == 0)


def sinusoids(time: jax.Array, width: int, scale: float = PUBLISHED_SCALE) -> jax.Array:
    """[sin, cos] of s t' f_k, f_k = 10000^(-k / (width/2 - 1)), k = 0 .. width/2 - 1.

    Args:
      time: [B] float32 in [0, 1]; s t' amplifies its rounding errors.
      width: an even number, at least 4.
      scale: s, the radians of the fastest wave.

    Returns:
      [B, width] float32.
    """
    half = width // 2
    frequencies = np.exp(np.arange(half, dtype=time.dtype) * np.asarray(-math.log(MAX_PERIOD) / (half - 1), time.dtype))
    angles = (scale * time)[:, None] * frequencies[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class TimeEmbedding(nn.Module):
    """Rescaled γ [B] -> conditioning vector [B, 4 width], always in float32.

    The published networks have a further input, a conditioning scalar, which all published runs keep at 0. It gives the
    first kernel the published shape [width + 1, 4 width]. A condition [B, K] enters through a separate kernel, so a
    network without a condition has the same parameters.
    """

    width: int
    scale: float = PUBLISHED_SCALE

    @nn.compact
    def __call__(self, time: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        h = sinusoids(time, self.width, self.scale)
        h = jnp.concatenate([h, jnp.zeros_like(h[:, :1])], axis=-1)
        h = nn.Dense(4 * self.width, precision=HIGHEST, name="dense_0")(h)
        if condition is not None:
            h += nn.Dense(4 * self.width, use_bias=False, precision=HIGHEST, name="condition")(condition)
        return nn.swish(nn.Dense(4 * self.width, precision=HIGHEST, name="dense_1")(nn.swish(h)))


def fourier_features(z: jax.Array, bins: tuple[float, ...], bin_width: float) -> jax.Array:
    """[z, sines, cosines] of 2π z / p for all periods p; the periods of a channel are neighbours.

    arXiv 2107.00630, section 4.5.

    Args:
      z: [B, ..., C] float32; pixels lie in [-1, 1].
      bins: periods in units of `bin_width`; if empty, z is returned.
      bin_width: width of a pixel's bin.

    Returns:
      [B, ..., C (1 + 2 len(bins))] float32.
    """
    if not bins:
        return z
    frequencies = jnp.asarray([2 * math.pi / (b * bin_width) for b in bins], z.dtype)
    angles = jnp.repeat(z, len(bins), axis=-1) * jnp.tile(frequencies, z.shape[-1])
    return jnp.concatenate([z, jnp.sin(angles), jnp.cos(angles)], axis=-1)
