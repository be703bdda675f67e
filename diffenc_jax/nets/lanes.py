"""Pairs of neighbouring pixels as one pixel of twice the channels, for TPUs.

A TPU pads the channels of an array to 128 lanes. An array of 64 channels takes twice its bytes, and products of 64 by
64 channels use a quarter of the matrix unit; in pairs they use a half of it for twice the multiplications, every other
one by zero. Networks have the same parameters and values with and without pairs.

A paired array is [B, H, W/2, 2 C], the numbers of [B, H, W, C] in the same order. Several of them with C channels each
are joined one behind the other, so a joined array has the channels of the first pixels of one, those of its second
pixels, and then those of the next.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from diffenc_jax.nets.xla_cpu import on_cpu

LANES = 128


def can_pair(channels: int, width: int) -> bool:
    """Whether images of this many channels and pixels in a row are to be paired on a TPU."""
    return 2 * channels <= LANES and width % 2 == 0


def channels_of(x: jax.Array, paired: bool) -> int:
    """Channels of a pixel of an array [..., C], or [..., 2 C] if it is paired."""
    return x.shape[-1] // 2 if paired else x.shape[-1]


def pair(x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H, W/2, 2 C]."""
    b, height, width, channels = x.shape
    return x.reshape(b, height, width // 2, 2 * channels)


def unpair(x: jax.Array) -> jax.Array:
    """[B, H, W/2, 2 C] -> [B, H, W, C]."""
    b, height, width, channels = x.shape
    return x.reshape(b, height, 2 * width, channels // 2)


@on_cpu(lambda first, second: jnp.concatenate([first, second], axis=-1))
def join(first: jax.Array, second: jax.Array) -> jax.Array:
    """Arrays [..., C] and [..., D], one behind the other, [..., C + D].

    XLA's TPU compiler fuses a sum of padded arrays with what reads it; a concatenation it writes to memory.
    """

    def pad(x, before, behind):
        return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * (x.ndim - 1) + [(before, behind, 0)])

    return pad(first, 0, second.shape[-1]) + pad(second, first.shape[-1], 0)


def for_pairs(make: Callable[[jax.Array], jax.Array], weights: jax.Array, axis: int, joined: int) -> jax.Array:
    """Weights for pairs of N joined arrays, of those for their pixels, whose input channels N C are the axis `axis`.

    Args:
      make: `twice`, `pair_matrix` or `pair_kernel`.
    """
    return jnp.concatenate([make(part) for part in jnp.split(weights, joined, axis)], axis)


def twice(by_channel: jax.Array) -> jax.Array:
    """[..., C] -> [..., 2 C], the same for both pixels."""
    return jnp.concatenate([by_channel, by_channel], axis=-1)


def pair_matrix(matrix: jax.Array) -> jax.Array:
    """The matrix [2 C, 2 D] that acts on pairs as [C, D] does on pixels."""
    return jnp.kron(jnp.eye(2, dtype=matrix.dtype), matrix)


def pair_kernel(kernel: jax.Array) -> jax.Array:
    """The kernel [3, 3, 2 C, 2 D] of the convolution of pairs that [3, 3, C, D] is for pixels.

    Pixel j of a pair gets pixel i of the pair at distance g = -1, 0, 1 through the tap 2 g + i - j + 1 of 0, 1, 2, or
    not at all.
    """
    taps = jnp.pad(kernel, [(0, 0), (2, 2), (0, 0), (0, 0)])
    by_pixels = [[taps[:, 1 + i - j : 6 + i - j : 2] for j in (0, 1)] for i in (0, 1)]
    return jnp.concatenate([jnp.concatenate(row, axis=3) for row in by_pixels], axis=2)
