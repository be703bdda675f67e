"""Dropout from 16 random bits per entry, by keys or by masks."""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import threefry2x32_p

from diffenc_jax.nets import xla_cpu

STEPS = 2**16


def dropout(x: jax.Array, rate: float, drop: jax.Array | None) -> jax.Array:
    """Zero entries of [B, ..., C] with probability `rate` and divide the others by 1 - `rate`.

    Args:
      x: the array; C is even.
      rate: rounded to a multiple of 2^-16, also in the division.
      drop: a key, or a mask of the kept entries; None: no dropout.
    """
    if drop is None or rate == 0.0:
        return x
    is_key = jnp.issubdtype(drop.dtype, jax.dtypes.prng_key)
    kept = keep_mask(drop, rate, x.shape) if is_key else drop
    return jnp.where(kept, x / (1.0 - _threshold(rate) / STEPS), jnp.zeros_like(x))


def split_dropout(key: jax.Array | None, rate: float, shapes: list[tuple[int, ...]], scan: bool) -> list:
    """The argument `drop` of `dropout` for each of a network's blocks, whose hidden arrays have these shapes.

    Keys for blocks that are scanned, otherwise masks; None without dropout.
    """
    if key is None or rate == 0.0:
        return [None] * len(shapes)
    keys = jax.random.split(key, len(shapes))
    return list(keys) if scan else xla_cpu.draw_masks(keep_mask, keys, rate, shapes)


def keep_mask(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """Mask of the entries of an array of `shape` that `dropout` keeps, bool."""
    random_halves = xla_cpu.on_cpu(xla_cpu.random_halves)(random_halves_by_entry)
    return random_halves(key, shape=shape) >= _threshold(rate)


def random_halves_by_entry(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """`xla_cpu.random_halves`, with every word computed twice.

    Only the mask is written to memory. A TPU's lanes would be idle otherwise.
    """
    if math.prod(shape) // 2 > 2**32:  # a word's index would need two words
        return xla_cpu.random_halves(key, shape)
    channel, half = jax.lax.broadcasted_iota(jnp.uint32, shape, len(shape) - 1), shape[-1] // 2
    row = jnp.uint32(0)
    for axis, size in enumerate(shape[:-1]):
        row = row * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    index = row * jnp.uint32(half) + channel % half
    # The word of `jax.random.bits` at that index under `jax_threefry_partitionable`.
    first, second = (jnp.broadcast_to(part, shape) for part in jax.random.key_data(key))
    left, right = threefry2x32_p.bind(first, second, jnp.zeros(shape, jnp.uint32), index)
    word = left ^ right
    return jnp.where(channel < half, word >> 16, word % STEPS)


def _threshold(rate: float) -> int:
    """The number of the `STEPS` 16-bit numbers for which an entry is dropped."""
    return round(rate * STEPS)
