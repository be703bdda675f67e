"""Batches. Batch k is a function of (seed, k) alone: to go on, a run needs only its step.

The training images are cut into stripes of consecutive ones, each shuffled for itself, and a batch takes as many
images of every stripe. A host that feeds some rows of every batch needs the stripes of these rows alone, and what
a batch holds does not depend on how many hosts there are. With a single stripe, all images are shuffled together.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from diffenc_jax.config import require


def permutation(size: int, seed: int, epoch: int, stripe: int = 0) -> np.ndarray:
    """A permutation of range(size) from (seed, epoch, stripe).

    Sorts raw Philox words, whose stream numpy guarantees, unlike that of its own shuffles.
    """
    words = np.random.Philox(key=[seed, epoch + (stripe << 32)]).random_raw(size)
    return np.argsort(words, kind="stable")


@dataclass(frozen=True)
class Order:
    """In which order training sees its images.

    Attributes:
      size: number of images.
      seed: of the run.
      batch_size: of the whole batch.
      stripes: a divisor of the batch's size, see `Order.of`.
    """

    size: int
    seed: int
    batch_size: int
    stripes: int

    @classmethod
    def of(cls, size: int, seed: int, batch_size: int, stripes: int) -> "Order":
        """With the most stripes that divide both `stripes` and the batch.

        Raises:
          InputError: there are fewer images than stripes.
        """
        stripes = math.gcd(stripes, batch_size)
        require(size >= stripes, f"{size} training images are fewer than {stripes} stripes; take data.stripes=1")
        return cls(size, seed, batch_size, stripes)

    def batch(self, step: int, rows: np.ndarray | None = None) -> np.ndarray:
        """The numbers of the images in batch `step`, or of those in some `rows` of it.

        Stripe s fills the rows from s B/S on. Its images follow each other in permutations of the stripe, one
        after the other.
        """
        rows = np.arange(self.batch_size) if rows is None else rows
        share = self.batch_size // self.stripes
        stripes, places = np.divmod(rows, share)
        first, last = self._ends(stripes)
        epochs, offsets = np.divmod(step * share + places, last - first)
        lowest, highest = int(stripes.min()), int(stripes.max())
        positions = first - self._ends(lowest)[0] + offsets
        numbers = np.empty(len(rows), np.int64)
        for epoch in range(int(epochs.min()), int(epochs.max()) + 1):
            now = epochs == epoch
            numbers[now] = self._shuffled(epoch, lowest, highest)[positions[now]]
        return numbers

    @cached_property
    def _shuffled(self) -> Callable[[int, int, int], np.ndarray]:
        """(epoch, stripe, stripe) -> the images of the stripes between; an epoch and the next are kept."""

        def shuffled(epoch, lowest, highest):
            stripes = [(stripe, *self._ends(stripe)) for stripe in range(lowest, highest + 1)]
            return np.concatenate([a + permutation(b - a, self.seed, epoch, stripe) for stripe, a, b in stripes])

        return lru_cache(maxsize=2)(shuffled)

    def needed(self, rows: np.ndarray) -> np.ndarray:
        """The numbers, increasing, of all images that ever are in these rows of a batch."""
        stripes = np.unique(rows // (self.batch_size // self.stripes))
        return np.concatenate([np.arange(*self._ends(int(stripe))) for stripe in stripes])

    def _ends(self, stripe: int | np.ndarray) -> tuple[int | np.ndarray, int | np.ndarray]:
        """The numbers at which a stripe, or each of some, begins and ends."""
        return stripe * self.size // self.stripes, (stripe + 1) * self.size // self.stripes


class EvalBatch(NamedTuple):
    """`batch_size` images and their places in the split; only the first `valid` are real."""

    images: np.ndarray
    indices: np.ndarray
    valid: int


def eval_batches(images: np.ndarray, batch_size: int) -> Iterator[EvalBatch]:
    """Every image once, in order; the last batch is filled up with the first image."""
    for start in range(0, len(images), batch_size):
        indices = np.arange(start, start + batch_size)
        valid = min(batch_size, len(images) - start)
        indices[valid:] = 0
        yield EvalBatch(images[indices], indices, valid)
