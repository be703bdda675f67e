"""Dropout: which entries are kept, and what is left of an array."""

import math

import jax
import jax.numpy as jnp

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
    """Which entries of arrays of these shapes `dropout` keeps by each of as many keys: bool.

    Those of one shape are drawn in a loop: it is compiled once, and on a CPU takes a third of the time of single draws.
    """
    drawn = {}
    for shape in set(shapes):
        places = [i for i, other in enumerate(shapes) if other == shape]
        kept = jax.lax.map(lambda key, shape=shape: _kept(key, rate, shape), keys[jnp.asarray(places)])
        drawn |= zip(places, apart(lambda kept: [part[0] for part in jnp.split(kept, len(kept))], kept), strict=True)
    return [drawn[i] for i in range(len(shapes))]


def _kept(key, rate, shape):
    """From 16 random bits an entry: channels c and C/2 + c share a word."""
    # Of the same values: XLA's CPU compiler takes ten times as long for four axes as for two.
    words = jax.random.bits(key, (shape[0], math.prod(shape[1:]) // 2), jnp.uint32)
    words = words.reshape(*shape[:-1], shape[-1] // 2)
    return jnp.concatenate([words >> 16, words % STEPS], axis=-1) >= _dropped(rate)


def _dropped(rate: float) -> int:
    """Of how many of `STEPS` values an entry is dropped."""
    return round(rate * STEPS)
