"""Batches. Batch k is a function of (seed, k) alone: to go on, a run needs only its step."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np


@lru_cache(maxsize=4)
def permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(size) from (seed, epoch).

    Sorts raw Philox words, whose stream numpy guarantees, unlike that of its own shuffles.
    """
    words = np.random.Philox(key=[seed, epoch]).random_raw(size)
    return np.argsort(words, kind="stable")


def batch_indices(size: int, seed: int, step: int, batch_size: int) -> np.ndarray:
    """Which of `size` images make up batch `step`: rows of one long sequence of permutations."""
    position = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(position, size)
    indices = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        rows = epochs == epoch
        indices[rows] = permutation(size, seed, int(epoch))[offsets[rows]]
    return indices


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
