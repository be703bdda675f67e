"""Training batches on the mesh.

Every host reads and sends only the images that its own devices process.
"""

import hashlib
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.data.images import Batch, LocalPart
from diffenc_jax.data.pipeline import Order
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel.sharding import batched, host_rows


class Batches:
    """The batch of each training step, a function of (seed, step) that does not depend on the number of hosts.

    Attributes:
      train: all training images; this host holds at least the images that its devices process.
      mesh, size: the mesh, and the number of images per batch.
      rows: increasing indices of the rows of a batch that lie on this host's devices.
    """

    def __init__(self, train: Batch, config: Config, mesh: Mesh):
        """Take all training images, or a part of them with this host's `needed_rows`.

        Raises InputError if there are fewer images than shards.
        """
        self.train, self.mesh, self.size = train, mesh, config.train.batch_size
        self._order, self.rows = _order(config, len(train.data)), host_rows(mesh, self.size)

    def __call__(self, step: int) -> Batch:
        """The images of `step`, counted from 0, divided over all devices."""
        numbers = self.numbers(step)
        here = jax.tree.map(lambda array: array[numbers], self.train)
        return jax.make_array_from_process_local_data(batched(self.mesh), here)

    def numbers(self, step: int) -> np.ndarray:
        """Indices of the images in this host's rows of the batch of `step`."""
        return self._order.batch(step, self.rows)


def needed_rows(config: Config, mesh: Mesh) -> Callable[[int], np.ndarray]:
    """Function from the number of training images to the increasing indices that this host's devices process.

    If training batches do not divide over the devices, these are all images: such a run cannot be trained, but it can
    be evaluated.
    """
    size = config.train.batch_size
    if size % mesh.size:
        return np.arange
    return lambda count: _order(config, count).needed(host_rows(mesh, size))


def training_digests(train: Batch, config: Config) -> dict[str, str]:
    """SHA-256 digests of the training images and of their labels, if any, by 'images' and 'labels'.

    They do not depend on the number of hosts, each of which holds whole shards. Every host must call this.
    """
    arrays = {"images": train.data} | ({} if train.labels is None else {"labels": train.labels})
    shards = _order(config, len(train.data)).shards()
    return {name: _digest_of_shards(array, shards) for name, array in arrays.items()}


def _digest_of_shards(array: np.ndarray | LocalPart, shards: list[tuple[int, int]]) -> str:
    """Digest of the digests of all shards. A host has zeros for the shards that it does not hold."""
    held, rows = (array.local, array.rows) if isinstance(array, LocalPart) else (array, np.arange(len(array)))
    digests = np.zeros((len(shards), hashlib.sha256().digest_size), np.uint8)
    for digest, ends in zip(digests, shards, strict=True):
        first, last = np.searchsorted(rows, ends)
        if last - first == ends[1] - ends[0]:
            digest[:] = bytearray(hashlib.sha256(np.ascontiguousarray(held[first:last]).data).digest())
    return hashlib.sha256(hosts.elementwise_max(digests).tobytes()).hexdigest()


def _order(config: Config, count: int) -> Order:
    return Order(count, config.seed, config.train.batch_size, config.data.shuffle_shards)
