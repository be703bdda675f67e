"""What is trivially reached on a data set: the figures a model's bits/dim stand beside."""

import math

import numpy as np

CHUNK = 10_000


def uniform_bpd(levels: int) -> float:
    """log2 V: every level equally likely."""
    return math.log2(levels)


def histogram_bpd(train: np.ndarray, test: np.ndarray, levels: int) -> float:
    """Bits/dim on `test` of independent pixels, each with its histogram over `train`.

    Every level of every pixel is counted once more than it occurs (Laplace), so that what was
    never seen has a finite cost.

    Args:
      train, test: uint8 [N, H, W, C].
    """
    counts = counts_of(train, levels) + 1.0
    bits = -np.log2(counts / counts.sum(axis=1, keepdims=True))
    return float((bits * counts_of(test, levels)).sum() / test.size)


def counts_of(images: np.ndarray, levels: int) -> np.ndarray:
    """[pixels, levels], how often each level occurs in each pixel of uint8 [N, H, W, C]."""
    dims = math.prod(images.shape[1:])
    counts = np.zeros(dims * levels, np.int64)
    offset = np.arange(dims) * levels
    for start in range(0, len(images), CHUNK):
        rows = images[start : start + CHUNK].reshape(-1, dims)
        counts += np.bincount((rows + offset).ravel(), minlength=dims * levels)
    return counts.reshape(dims, levels)
