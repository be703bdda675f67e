"""Distances between sets of images in a space of few dimensions."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diffenc_jax.lab.stats.distributions import Overlap, farther, frechet, overlap

DIMS = 32
# Upper limit of the images that the components are fitted to; more would only take longer.
MOST_FITTED = 10_000

Features = Callable[[np.ndarray], np.ndarray]


class Distances(NamedTuple):
    """Distances of samples, and of equally many training images, from the unseen images.

    Attributes:
      dims: of the space.
      frechet: Fréchet distance of the samples, in the squared unit of the space.
      frechet_train: Fréchet distance of the training images: the value of samples of the true distribution, or a
        slightly larger one if the space was fitted to the training images, as logits are.
      p_farther: p-value of the samples being as far away by chance, see `stats.distributions.farther`.
      overlap, overlap_train: overlap of samples and of training images with the unseen images.
    """

    dims: int
    frechet: float
    frechet_train: float
    p_farther: float
    overlap: Overlap
    overlap_train: Overlap


def principal_components(train: np.ndarray) -> Features:
    """Map from uint8 [N, H, W, C] to the first `DIMS` principal components [N, dims] of `train`'s pixels, in levels."""
    from sklearn.decomposition import PCA

    pixels = flatten(subset(train, MOST_FITTED))
    fitted = PCA(min(DIMS, *pixels.shape), random_state=0).fit(pixels)
    return lambda images: fitted.transform(flatten(images))


def feature_distances(space: Features, samples: np.ndarray, train: np.ndarray, unseen: np.ndarray) -> Distances:
    """Distances in `space` from samples, as many training images, and unseen images, each uint8 [N, H, W, C]."""
    samples, train, unseen = map(space, (samples, train, unseen))
    return Distances(
        dims=samples.shape[1],
        frechet=frechet(samples, unseen),
        frechet_train=frechet(train, unseen),
        p_farther=farther(samples, train, unseen, frechet),
        overlap=overlap(samples, unseen),
        overlap_train=overlap(train, unseen),
    )


def subset(images: np.ndarray, count: int) -> np.ndarray:
    """A fixed random subset of `count` images in their order; all images if there are no more."""
    if len(images) <= count:
        return images
    return images[np.sort(np.random.RandomState(0).permutation(len(images))[:count])]


def flatten(images: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """[N, H W C] of images [N, H, W, C]."""
    return images.reshape(len(images), -1).astype(dtype)
