"""Dropout by masks that are drawn for all blocks of a network at once, from 16 random bits per entry."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.random import threefry2x32_p

STEPS = 2**16
PER_CALL = 4  # masks from one call of the generator, which gives two words of 32 bits
PER_BYTE = 8  # masks in one array of bytes


class Mask(NamedTuple):
    """The entries of an array [B, ...] that one block keeps: bit `bit` of bytes[group].

    Attributes:
      bytes: uint8 [G, B, ...], the masks of up to 8 G blocks. Reading them is faster than drawing random bits.
      group: int32 [].
      bit: uint8 [].
    """

    bytes: jax.Array
    group: jax.Array
    bit: jax.Array

    def kept(self) -> jax.Array:
        """Bool [B, ...]."""
        return (self.own_bytes() >> self.bit) & 1 == 1

    def own_bytes(self) -> jax.Array:
        """uint8 [B, ...]."""
        single = len(self.bytes) == 1
        return self.bytes[0] if single else jax.lax.dynamic_index_in_dim(self.bytes, self.group, keepdims=False)


def dropout(x: jax.Array, rate: float, mask: Mask | None) -> jax.Array:
    """Set the entries that `mask` does not keep to zero, and divide the others by 1 - `rate`. None: no dropout.

    `rate` is rounded to a multiple of 2^-16, also in the division.
    """
    if mask is None:
        return x
    return jnp.where(mask.kept(), x / kept_share(rate), jnp.zeros_like(x))


def draw_masks(key: jax.Array | None, rate: float, shapes: list[tuple[int, ...]]) -> list[Mask | None]:
    """Masks for the blocks of a network with hidden arrays of these shapes; None without dropout.

    The masks depend only on the total size of the axes behind the first, not on how this size is divided into axes.
    """
    if key is None or rate == 0.0:
        return [None] * len(shapes)
    masks: list[Mask | None] = [None] * len(shapes)
    for number, shape in enumerate(dict.fromkeys(shapes)):
        blocks = [block for block, other in enumerate(shapes) if other == shape]
        calls = -(-min(len(blocks), PER_BYTE) // PER_CALL)
        keys = jax.random.split(jax.random.fold_in(key, number), (-(-len(blocks) // PER_BYTE), calls))
        drawn = jnp.stack([draw_bytes(group, rate, shape) for group in keys])
        for i, block in enumerate(blocks):
            masks[block] = Mask(drawn, jnp.int32(i // PER_BYTE), jnp.uint8(i % PER_BYTE))
    return masks


def stack_masks(masks: list[Mask | None]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]] | tuple[None, None]:
    """For a scan: the bytes that the masks share, and the stacked groups and bits. None and None without masks."""
    if masks[0] is None:
        return None, None
    _, groups, bits = zip(*masks, strict=True)
    return masks[0].bytes, (jnp.stack(groups), jnp.stack(bits))


def draw_bytes(keys: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """Bytes of `shape` [B, ...]; each bit is 0 with probability `rate`.

    For entry p of image b, Threefry with keys[k] computes two words from (b, p). Their four halves give the bits 4 k to
    4 k + 3 of the entry. The bits therefore depend only on the keys, the image and the entry.
    """
    place = jnp.uint32(0)
    for axis, size in enumerate(shape[1:], 1):
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    image = jax.lax.broadcasted_iota(jnp.uint32, shape, 0)
    halves = []
    for data in jax.random.key_data(keys):
        words = threefry2x32_p.bind(*(jnp.broadcast_to(part, shape) for part in data), image, place)
        halves += [half for word in words for half in (word >> 16, word % STEPS)]
    # Without the barrier XLA would draw all masks of a group again for each block.
    drawn = sum((half >= _threshold(rate)).astype(jnp.uint8) << bit for bit, half in enumerate(halves))
    return jax.lax.optimization_barrier(drawn)


def kept_share(rate: float) -> float:
    """1 - `rate`, rounded as in `dropout`."""
    return 1.0 - _threshold(rate) / STEPS


def _threshold(rate: float) -> int:
    """The number of 16-bit values, out of `STEPS`, for which an entry is dropped."""
    return round(rate * STEPS)
