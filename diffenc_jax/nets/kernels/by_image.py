"""Division over devices, by image, of functions that the compiler cannot divide, such as kernels."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap, sequential_vmap
from jax.experimental.custom_partitioning import custom_partitioning


def by_image(f: Callable[..., list[jax.Array]], *arrays: jax.Array) -> list[jax.Array]:
    """f(*arrays), a list of arrays; each device computes the results for its own images.

    Arrays of one axis are the same for all images; all others begin with the axis of images.
    """

    def partition(mesh, arguments, results):
        """Divide the axis of images in the way that the compiler divides it for some array, and divide no other axis.

        In spite of the rule, the compiler proposes the sharding that the consumers of the results prefer.
        """
        given = (a.sharding.spec[0] for a in (*arguments, *results) if len(a.shape) > 1)
        images = next(filter(None, given), None)

        def sharding(array):
            return jax.sharding.NamedSharding(mesh, jax.P(images) if len(array.shape) > 1 else jax.P())

        return mesh, f, *(jax.tree.map(sharding, tree) for tree in (results, arguments))

    divided: Any = custom_partitioning(f)
    shapes = jax.eval_shape(f, *arrays)
    sides = [_factors("a", arrays), _factors("r", shapes)]
    rule = " -> ".join(", ".join(map(" ".join, side)) for side in sides)
    whole = [name for side in sides for names in side for name in names if name != "images"]  # in the order of the rule
    divided.def_partition(partition=partition, sharding_rule=rule, need_replication_factors=tuple(whole))
    batchable = custom_vmap(divided)

    @batchable.def_vmap
    def more_images(size, batched, *arrays):
        axes = [0 if own else None for own in batched]
        if any(own and array.ndim == 2 for own, array in zip(batched, arrays, strict=True)):
            return jax.vmap(sequential_vmap(divided), axes)(*arrays), [True] * len(shapes)

        def merged(array, own):
            array = array if own else jnp.broadcast_to(array, (size, *array.shape))
            return array.reshape(-1, *array.shape[2:])

        together = [a if a.ndim == 1 else merged(a, own) for a, own in zip(arrays, batched, strict=True)]
        return [a.reshape(size, -1, *a.shape[1:]) for a in by_image(f, *together)], [True] * len(shapes)

    return batchable(*arrays)


def _factors(side, arrays):
    """Names of axes for one side of a Shardy rule: 'images', and a distinct name for each other axis."""
    own = [[f"{side}{number}x{axis}" for axis in range(array.ndim)] for number, array in enumerate(arrays)]
    return [names if len(names) == 1 else ["images", *names[1:]] for names in own]
