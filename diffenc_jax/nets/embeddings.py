"""What the networks are told besides the image: the time, and the image's finest digits."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config import require

HIGHEST = jax.lax.Precision.HIGHEST
MAX_PERIOD = 10_000.0
TIME_SCALE = 1000.0


def check_width(path: str, width: int) -> None:
    """Raises InputError unless `width`, the configuration's `path`.width, is one that `sinusoids` takes."""
    require(width >= 4 and width % 2 == 0, f"{path}.width must be even and at least 4, not {width}")


def sinusoids(time: jax.Array, width: int) -> jax.Array:
    """[sin, cos] of 1000 t' f_k, f_k = 10000^(-k / (width/2 - 1)), k = 0 .. width/2 - 1.

    Args:
      time: [B] float32 in [0, 1]; 1000 t' amplifies whatever rounding it carries.
      width: an even number, at least 4.

    Returns:
      [B, width] float32.
    """
    half = width // 2
    frequencies = np.exp(np.arange(half, dtype=time.dtype) * np.asarray(-math.log(MAX_PERIOD) / (half - 1), time.dtype))
    angles = (TIME_SCALE * time)[:, None] * frequencies[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class TimeEmbedding(nn.Module):
    """[B] rescaled γ -> [B, 4 width] conditioning vector, in float32 whatever the networks compute in.

    One more input, a conditioning scalar that every published run keeps at 0, gives the first
    kernel the published shape [width + 1, 4 width].
    """

    width: int

    @nn.compact
    def __call__(self, time: jax.Array) -> jax.Array:
        h = sinusoids(time, self.width)
        h = jnp.concatenate([h, jnp.zeros_like(h[:, :1])], axis=-1)
        h = nn.swish(nn.Dense(4 * self.width, precision=HIGHEST, name="dense_0")(h))
        return nn.swish(nn.Dense(4 * self.width, precision=HIGHEST, name="dense_1")(h))


def fourier_features(z: jax.Array, cycles: tuple[float, ...]) -> jax.Array:
    """[z, sines, cosines] of 2π c z for c in `cycles`, a channel's frequencies side by side.

    arXiv 2107.00630, section 4.5.

    Args:
      z: [B, H, W, C] float32.
      cycles: frequencies in cycles per unit of z.

    Returns:
      [B, H, W, C (1 + 2 len(cycles))] float32.
    """
    frequencies = jnp.tile(jnp.asarray([2 * math.pi * c for c in cycles], z.dtype), z.shape[-1])
    angles = jnp.repeat(z, len(cycles), axis=-1) * frequencies
    return jnp.concatenate([z, jnp.sin(angles), jnp.cos(angles)], axis=-1)
