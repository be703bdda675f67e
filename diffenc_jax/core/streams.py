"""Named random streams: one key per (seed, stream, step), so that a new stream changes no other.

A seed gives the same numbers under all settings of JAX. Keys are Threefry's, whose draws depend neither on the devices
nor on the rest of a batch, and draws have 32 bits.
"""

import math
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.errors import require

# With JAX's other generators, an image's noise depends on its batch.
GENERATOR = "threefry2x32"
# An array [] is a seed that compiled programs take as an argument.
Seed = int | np.uint32 | jax.Array


def stream(seed: Seed, name: str) -> jax.Array:
    """Key of the stream `name`, into which the step, or the index of an example, is folded.

    Raises InputError if jax_threefry_partitionable is off, which changes the draws.

    Args:
      seed: seed below 2^32, since JAX's settings decide whether higher bits count.
      name: name of the stream.
    """
    is_off = "jax_threefry_partitionable is off, which draws other numbers from the same seed"
    is_on: bool = jax.config.jax_threefry_partitionable  # type: ignore[attr-defined]
    require(is_on, f"{is_off}; unset JAX_THREEFRY_PARTITIONABLE, or set it to true")
    return jax.random.fold_in(jax.random.key(seed, impl=GENERATOR), zlib.crc32(name.encode()))


def at_step(seed: Seed, name: str, step: jax.Array | int) -> jax.Array:
    """Key of the stream `name` at `step`."""
    return jax.random.fold_in(stream(seed, name), step)


def gaussian(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws from N(0, 1), float32: the values of `jax.random.normal`.

    They are drawn as a matrix: for four axes XLA's CPU compiler takes ten times as long.
    """
    return jax.random.normal(key, (shape[0], math.prod(shape[1:])), jnp.float32).reshape(shape)


def gaussian_each(keys: jax.Array, index: jax.Array | int, shape: tuple[int, ...]) -> jax.Array:
    """Draws from N(0, 1), [B, *shape], one per key [B] with `index` folded in, independent of the rest of the batch."""
    return draw_each(gaussian, keys, index, shape)


def draw_each(
    draw: Callable[..., jax.Array], keys: jax.Array, index: jax.Array | int, shape: tuple[int, ...]
) -> jax.Array:
    """Results of draw(key, shape), [B, *shape], one per key [B] with `index` folded in."""
    return jax.vmap(lambda key: draw(jax.random.fold_in(key, index), shape))(keys)


def uniform(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    """Draws from U[0, 1), float32."""
    return jax.random.uniform(key, shape, jnp.float32)


def signs(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Signs ±1 with equal probability, float32: the values of `jax.random.rademacher`."""
    return jnp.where(uniform(key, shape) < 0.5, jnp.float32(1.0), jnp.float32(-1.0))
