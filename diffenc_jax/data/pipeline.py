"""Order of training and evaluation images. Training batch k is a function of (seed, k), so a run resumes from its step.

The training images are cut into shards of consecutive images. Each shard is shuffled separately, and a batch takes
equally many images from every shard. A host that feeds some rows of every batch needs only the shards of these rows. A
batch does not depend on the number of hosts. With one shard, all images are shuffled together.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.data.images import Batch


def permutation(size: int, seed: int, epoch: int, shard: int = 0) -> np.ndarray:
    """Permutation of range(size), a function of (seed, epoch, shard).

    It sorts raw words of Philox. Unlike numpy's shuffles, they are the same in all versions of numpy.
    """
    words = np.random.Philox(key=[seed, epoch + (shard << 32)]).random_raw(size)
    return np.argsort(words, kind="stable")


class Order:
    """Order in which training processes its images.

    Attributes:
      num_shards: the largest number of shards that divides both `shuffle_shards` and the batch.
    """

    def __init__(self, size: int, seed: int, batch_size: int, shuffle_shards: int):
        """Order of `size` images in global batches; raises InputError if there are fewer images than shards."""
        shards = math.gcd(shuffle_shards, batch_size)
        few = f"{size} training images are fewer than {shards} shuffle shards"
        require(size >= shards, f"{few}; use data.shuffle_shards=1")
        self._size, self._seed, self._batch_size, self.num_shards = size, seed, batch_size, shards
        # A shard's images may lie in two epochs, and small shards end theirs earlier than those with an image more.
        self._shuffled = lru_cache(maxsize=4)(self._shuffle)

    def batch(self, step: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Indices of the images in batch `step`, or in the given rows of it.

        With B images per batch and S shards, shard s fills the rows s B/S .. (s + 1) B/S - 1. Each epoch permutes the
        images of a shard anew.
        """
        rows = np.arange(self._batch_size) if rows is None else rows
        share = self._batch_size // self.num_shards
        shards, places = np.divmod(rows, share)
        first, last = self._ends(shards)
        epochs, offsets = np.divmod(step * share + places, last - first)
        lowest, highest = int(shards.min()), int(shards.max())
        positions = first - self._ends(lowest)[0] + offsets
        numbers = np.empty(len(rows), np.int64)
        for epoch in np.unique(epochs):
            in_epoch = epochs == epoch
            numbers[in_epoch] = self._shuffled(int(epoch), lowest, highest)[positions[in_epoch]]
        return numbers

    def _shuffle(self, epoch: int, lowest: int, highest: int) -> np.ndarray:
        """Indices of the images of the shards `lowest` .. `highest` in the order of an epoch."""
        shards = [(shard, *self._ends(shard)) for shard in range(lowest, highest + 1)]
        return np.concatenate([a + permutation(b - a, self._seed, epoch, shard) for shard, a, b in shards])

    def needed(self, rows: np.ndarray) -> np.ndarray:
        """Increasing indices of all images that any batch has in these rows."""
        shards = np.unique(rows // (self._batch_size // self.num_shards))
        return np.concatenate([np.arange(*self._ends(int(shard))) for shard in shards])

    def shards(self) -> list[tuple[int, int]]:
        """The range of indices of each shard: its first, and the first after it."""
        return [self._ends(shard) for shard in range(self.num_shards)]

    def _ends(self, shard: Any) -> tuple[Any, Any]:
        """First index of a shard, and of the next one; elementwise for several shards."""
        return shard * self._size // self.num_shards, (shard + 1) * self._size // self.num_shards


class EvalBatch(NamedTuple):
    """`batch_size` images with their indices in the split; only the first `valid` count.

    Attributes:
      noise: [batch_size] the numbers that choose the images' noise.
    """

    batch: Batch
    indices: np.ndarray
    valid: int
    noise: np.ndarray


def noise_numbers(index: Any, count: int) -> np.ndarray:
    """The numbers [count] that choose the noise of examples, from one per example or one for all; raises InputError."""
    array = np.asarray(index)
    fits = array.dtype.kind in "iu" and array.shape in ((), (count,)) and not (array < 0).any()
    require(fits and bool((array < 2**31).all()), f"index must be one whole number from 0, or {count}, below 2**31")
    return np.broadcast_to(array, (count,))


def eval_batches(split: Batch, batch_size: int, noise: np.ndarray | None = None) -> Iterator[EvalBatch]:
    """Batches with every image of a split once, in order; the last batch is padded with the first image.

    Args:
      noise: [N] the numbers that choose the images' noise; None for their indices.
    """
    count = len(split.data)
    for start in range(0, count, batch_size):
        indices = np.arange(start, start + batch_size)
        valid = min(batch_size, count - start)
        indices[valid:] = 0
        labels = None if split.labels is None else split.labels[indices]
        numbers = indices if noise is None else noise[indices]
        yield EvalBatch(Batch(split.data[indices], labels), indices, valid, numbers)
