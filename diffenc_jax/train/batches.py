"""Training images on the mesh: every host reads, holds and sends what its own devices look at."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax.data.images import Held
from diffenc_jax.data.pipeline import Order
from diffenc_jax.train import sharding


class Batches:
    """The batch of each step, the same on any number of hosts."""

    def __init__(self, images: np.ndarray | Held, config: ConfigDict, mesh: Mesh):
        """`images`: those that this host needs, see `needed`. Raises InputError where they do not make batches."""
        self._images, self._mesh, self._size = images, mesh, config.train.batch_size
        self._order, self._rows = _order(config, len(images)), sharding.host_rows(mesh, self._size)

    def __call__(self, step: int) -> jax.Array:
        """uint8 [B, H, W, C] of `step`, counted from 0, divided over all devices."""
        images = self._images[self._order.batch(step, self._rows)]
        return sharding.rows_to_devices(self._mesh, images, self._rows, self._size)


def needed(config: ConfigDict, mesh: Mesh) -> Callable[[int], np.ndarray]:
    """Number of training images -> the numbers, increasing, of those that this host's devices ever look at.

    All of them where training batches do not divide over the devices: such a run can be evaluated, not trained.
    """
    size = config.train.batch_size
    if size < 1 or size % mesh.size:
        return np.arange
    return lambda count: _order(config, count).needed(sharding.host_rows(mesh, size))


def _order(config: ConfigDict, count: int) -> Order:
    return Order.of(count, config.seed, config.train.batch_size, config.data.stripes)
