"""Named random streams: one key a (seed, stream, step), so that a new stream changes no other."""

import math
import zlib

import jax


def stream(seed: int, name: str) -> jax.Array:
    """The key of the stream `name`; fold the step, or whatever it is drawn for, into it."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def at_step(seed: int, name: str, step: jax.Array | int) -> jax.Array:
    """The key of the stream `name` at `step`."""
    return jax.random.fold_in(stream(seed, name), step)


def gaussian(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """`jax.random.normal`, the same values: XLA's CPU compiler takes ten times as long for four axes as for two."""
    return jax.random.normal(key, (shape[0], math.prod(shape[1:]))).reshape(shape)
