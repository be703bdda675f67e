"""Dropout: which entries are kept, and what is left of an array."""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import threefry2x32_p

from diffenc_jax.config import require
from diffenc_jax.nets.apart import apart

STEPS = 2**16


def check_rate(path: str, rate: float) -> None:
    """Raises InputError unless `rate`, the configuration's `path`.dropout, is one."""
    require(0.0 <= rate < 1.0, f"{path}.dropout must lie in [0, 1), not {rate}")


def dropout(x: jax.Array, rate: float, drop: jax.Array | None) -> jax.Array:
    """Zeroes entries of [B, ..., C], C even, with probability `rate` and divides the rest by that of staying.

    Args:
      x: the array.
      rate: rounded to a multiple of 2^-16, also in the division.
      drop: a key, or one of `masks`; None: no dropout.
    """
    if drop is None or rate == 0.0:
        return x
    is_key = jnp.issubdtype(drop.dtype, jax.dtypes.prng_key)
    kept = _kept(drop, rate, x.shape) if is_key else drop
    return jnp.where(kept, x / (1.0 - _dropped(rate) / STEPS), jnp.zeros_like(x))


def masks(keys: jax.Array, rate: float, shapes: list[tuple[int, ...]]) -> list[jax.Array]:
    """Which entries of arrays of these shapes `dropout` keeps by each of as many keys: bool."""
    by_key = jax.jit(_by_entry, static_argnums=(1, 2))  # traced once for each shape
    return jax.lax.platform_dependent(
        keys,
        cpu=lambda keys: _in_loops(keys, rate, shapes),
        default=lambda keys: [by_key(key, rate, shape) for key, shape in zip(keys, shapes, strict=True)],
    )


def _in_loops(keys, rate, shapes):
    """Those of one shape in one loop: on a CPU it is compiled once, and takes a third of the time of single draws."""
    drawn = {}
    for shape in set(shapes):
        places = [i for i, other in enumerate(shapes) if other == shape]
        kept = jax.lax.map(lambda key, shape=shape: _by_word(key, rate, shape), keys[jnp.asarray(places)])
        drawn |= zip(places, apart(lambda kept: [part[0] for part in jnp.split(kept, len(kept))], kept), strict=True)
    return [drawn[i] for i in range(len(shapes))]


def _kept(key, rate, shape):
    """From 16 random bits an entry: channels c and C/2 + c share a word of `jax.random.bits`."""
    return jax.lax.platform_dependent(
        key, cpu=lambda key: _by_word(key, rate, shape), default=lambda key: _by_entry(key, rate, shape)
    )


def _by_word(key, rate, shape):
    """Every word once, on two axes: XLA's CPU compiler takes ten times as long for four."""
    words = jax.random.bits(key, (shape[0], math.prod(shape[1:]) // 2), jnp.uint32)
    words = words.reshape(*shape[:-1], shape[-1] // 2)
    return jnp.concatenate([words >> 16, words % STEPS], axis=-1) >= _dropped(rate)


def _by_entry(key, rate, shape):
    """The same, every word twice: a TPU's lanes would be idle else, and no array but the mask is written."""
    if math.prod(shape) // 2 > 2**32:  # places would need two words
        return _by_word(key, rate, shape)
    channel, half = jax.lax.broadcasted_iota(jnp.uint32, shape, len(shape) - 1), shape[-1] // 2
    row = jnp.uint32(0)
    for axis, size in enumerate(shape[:-1]):
        row = row * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    place = row * jnp.uint32(half) + channel % half
    # As `jax.random.bits` has it of the word at that place, `jax_threefry_partitionable`.
    first, second = (jnp.broadcast_to(part, shape) for part in jax.random.key_data(key))
    left, right = threefry2x32_p.bind(first, second, jnp.zeros(shape, jnp.uint32), place)
    word = left ^ right
    return jnp.where(channel < half, word >> 16, word % STEPS) >= _dropped(rate)


def _dropped(rate: float) -> int:
    """Of how many of `STEPS` values an entry is dropped."""
    return round(rate * STEPS)
