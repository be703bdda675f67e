"""Bits/dim of trivial models, to compare a model's bits/dim with."""

import math

import numpy as np

CHUNK = 10_000


def uniform_bpd(pixel_levels: int) -> float:
    """log2 V: every pixel level is equally likely."""
    return math.log2(pixel_levels)


def histogram_bpd(train: np.ndarray, test: np.ndarray, pixel_levels: int) -> float:
    """Bits/dim on `test` of independent pixels, each distributed as its histogram over `train`.

    One is added to every count (Laplace smoothing), so that unseen levels have a finite cost.

    Args:
      train, test: uint8 [N, H, W, C].
    """
    counts = counts_of(train, pixel_levels) + 1.0
    bits = -np.log2(counts / counts.sum(axis=1, keepdims=True))
    return float((bits * counts_of(test, pixel_levels)).sum() / test.size)


def counts_of(images: np.ndarray, pixel_levels: int) -> np.ndarray:
    """Counts [dims, pixel_levels] of every level in every pixel and channel of uint8 [N, H, W, C]."""
    dims = math.prod(images.shape[1:])
    counts = np.zeros(dims * pixel_levels, np.int64)
    offset = np.arange(dims) * pixel_levels
    for start in range(0, len(images), CHUNK):
        rows = images[start : start + CHUNK].reshape(-1, dims)
        counts += np.bincount((rows + offset).ravel(), minlength=dims * pixel_levels)
    return counts.reshape(dims, pixel_levels)
