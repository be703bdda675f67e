"""Named random streams: one key a (seed, stream, step), so that a new stream changes no other.

A seed's numbers are the same whatever JAX's settings are: keys are Threefry's, whose draws depend neither on devices
nor on what else is drawn in a batch, and draws are of 32 bits.
"""

import math
import zlib

import jax
import jax.numpy as jnp

from diffenc_jax.errors import InputError

# JAX's other generators give an image another noise in another batch.
GENERATOR = "threefry2x32"


def stream(seed: int, name: str) -> jax.Array:
    """The key of the stream `name`; fold the step, or whatever it is drawn for, into it.

    Args:
      seed: below 2^32; higher bits would be dropped, or not, by JAX's settings.
      name: of the stream.

    Raises:
      InputError: JAX is set to draw other numbers from the same key.
    """
    if not jax.config.jax_threefry_partitionable:
        raise InputError(
            "jax_threefry_partitionable is off, which draws other numbers from the same seed; unset "
            "JAX_THREEFRY_PARTITIONABLE, or set it to true"
        )
    return jax.random.fold_in(jax.random.key(seed, impl=GENERATOR), zlib.crc32(name.encode()))


def at_step(seed: int, name: str, step: jax.Array | int) -> jax.Array:
    """The key of the stream `name` at `step`."""
    return jax.random.fold_in(stream(seed, name), step)


def gaussian(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """`jax.random.normal`, the same values: XLA's CPU compiler takes ten times as long for four axes as for two."""
    return jax.random.normal(key, (shape[0], math.prod(shape[1:])), jnp.float32).reshape(shape)


def gaussian_each(keys: jax.Array, place: jax.Array | int, shape: tuple[int, ...]) -> jax.Array:
    """[B, *shape]: each of `keys` [B] draws its own, with `place` folded in, whatever else is in the batch."""
    return jax.vmap(lambda key: gaussian(jax.random.fold_in(key, place), shape))(keys)


def uniform(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    """U[0, 1), float32."""
    return jax.random.uniform(key, shape, jnp.float32)


def signs(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """±1 with equal probability, float32: the values of `jax.random.rademacher`."""
    return jnp.where(uniform(key, shape) < 0.5, jnp.float32(1.0), jnp.float32(-1.0))
