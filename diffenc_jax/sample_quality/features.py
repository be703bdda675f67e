"""Distances between sets of images in a space of few dimensions."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diffenc_jax.stats.distributions import Overlap, farther, frechet, overlap

DIMS = 32
# More images than that change nothing but the time that it takes.
MOST_FITTED = 10_000

Features = Callable[[np.ndarray], np.ndarray]


class Distances(NamedTuple):
    """Of samples and of as many training images from the unseen images, which training did not see either.

    Attributes:
      dims: of the space.
      frechet: of the samples; in the space's unit, squared.
      frechet_train: of the training images: what samples of the true distribution would have, or somewhat more
        where the space was fitted to them, as logits are.
      p_farther: of the samples lying farther off, against both being of one distribution; see `farther`.
      overlap, overlap_train: of either with the unseen images.
    """

    dims: int
    frechet: float
    frechet_train: float
    p_farther: float
    overlap: Overlap
    overlap_train: Overlap


def principal_components(train: np.ndarray) -> Features:
    """From uint8 [N, H, W, C] to the first `DIMS` principal components [N, dims] of `train`'s pixels, in levels."""
    from sklearn.decomposition import PCA

    pixels = flat(some(train, MOST_FITTED))
    fitted = PCA(min(DIMS, *pixels.shape), random_state=0).fit(pixels)
    return lambda images: fitted.transform(flat(images))


def compare(samples: np.ndarray, train: np.ndarray, unseen: np.ndarray) -> Distances:
    """From the features of the samples [n, d], of as many training images, and of unseen ones [m, d]."""
    return Distances(
        samples.shape[1],
        frechet(samples, unseen),
        frechet(train, unseen),
        farther(samples, train, unseen, frechet),
        overlap(samples, unseen),
        overlap(train, unseen),
    )


def some(images: np.ndarray, count: int) -> np.ndarray:
    """`count` of them at random, always the same; all, where there are no more."""
    if len(images) <= count:
        return images
    return images[np.sort(np.random.RandomState(0).permutation(len(images))[:count])]


def flat(images: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """[N, H W C] of [N, H, W, C]."""
    return images.reshape(len(images), -1).astype(dtype)
