"""What a training step looks at: images, times and noise, and the images whose end points it looks at."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffenc_jax.diffusion.losses import Noise
from diffenc_jax.diffusion.times import antithetic
from diffenc_jax.model import Model
from diffenc_jax.streams import uniform
from diffenc_jax.train.times import LossByTime


class Draw(NamedTuple):
    """A batch and all that is random about it but dropout.

    Attributes:
      pixels: uint8 [B, H, W, C].
      noise: its `eps_0` is that of the images at the end points.
      weight: [B] of the diffusion terms and of the second head's errors, 1/q(t) for times that have density q.
      at_ends: uint8 [E, H, W, C], the images at the end points, in number a multiple of the parts that a batch is
        worked through in; None: all.
    """

    pixels: jax.Array
    noise: Noise
    weight: jax.Array
    at_ends: jax.Array | None = None


def draw(
    model: Model, pixels: jax.Array, losses: LossByTime | None, key_time: jax.Array, key_noise: jax.Array, turn, k: int
) -> Draw:
    """For uint8 [B, H, W, C]: times spread evenly by the density of `losses`, or the uniform one without.

    The end points are those of the images `turn` mod `k`, `turn` mod `k` + `k`, ...; k divides B.
    """
    s = antithetic(uniform(key_time), len(pixels))
    t, weight = (s, jnp.ones_like(s)) if losses is None else losses.density().at(s)
    noise = model.draw_noise(key_noise, t, len(pixels) // k)
    return Draw(pixels, noise, weight, every(pixels, k, first=turn % k))


def every(pixels: jax.Array, k: int, first: jax.Array) -> jax.Array | None:
    """The images `first`, `first` + k, ... of [B, ...]; None, for all of them, where k is 1."""
    if k == 1:
        return None
    return jax.lax.dynamic_index_in_dim(pixels.reshape(-1, k, *pixels.shape[1:]), first, axis=1, keepdims=False)
