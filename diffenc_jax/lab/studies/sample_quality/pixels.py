"""Statistics of single pixels and of pairs of neighbouring pixels."""

import math
from typing import NamedTuple

import numpy as np

from diffenc_jax.data.baselines import counts_of
from diffenc_jax.evaluation.uncertainty import mean_and_error

CHUNK = 1000
AXES = {"vertical": 1, "horizontal": 2, "channels": 3}


class Correlation(NamedTuple):
    """Correlation of a pixel with its neighbour, and its standard error over images."""

    value: float
    error: float


class Differences(NamedTuple):
    """Differences between two sets of images, in levels.

    Attributes:
      means: root mean square over pixels of the difference of their means.
      deviations: root mean square over pixels of the difference of their standard deviations.
      histograms: mean over pixels of the Wasserstein distance of their distributions, Σ_v |F(v) − G(v)|.
    """

    means: float
    deviations: float
    histograms: float


def pixel_differences(a: np.ndarray, b: np.ndarray, levels: int) -> Differences:
    """Differences of uint8 [N, H, W, C] with values below `levels`, biased upwards for few images."""
    parts = [counts_of(images, levels) / len(images) for images in (a, b)]
    values = np.arange(levels)
    means = [part @ values for part in parts]
    deviations = [np.sqrt(np.maximum(part @ values**2 - mean**2, 0)) for part, mean in zip(parts, means, strict=True)]
    wasserstein = np.abs(np.cumsum(parts[0] - parts[1], axis=1)).sum(axis=1).mean()
    return Differences(_rms(*means), _rms(*deviations), float(wasserstein))


def correlations(images: np.ndarray) -> dict[str, Correlation]:
    """Correlation of pixels, less their means, with the next one along each axis, over all positions together.

      r = Σ x x' / √(Σ x² Σ x'²)

    With a, b and c the three sums of one image and ā, b̄ and c̄ their means over images, the error is the standard
    error of the mean of r (a/ā − b/2b̄ − c/2c̄), the linear part of r.

    Args:
      images: [N, H, W, C], N > 1.
    """
    mean = images.mean(axis=0)
    return {name: _correlation(images, mean, axis) for name, axis in AXES.items() if images.shape[axis] > 1}


def _correlation(images: np.ndarray, mean: np.ndarray, axis: int) -> Correlation:
    sums = []
    for start in range(0, len(images), CHUNK):
        x = np.moveaxis(images[start : start + CHUNK] - mean, axis, 1)
        here, there = (part.reshape(len(x), -1) for part in (x[:, :-1], x[:, 1:]))
        sums.append(np.stack([(here * there).sum(1), (here**2).sum(1), (there**2).sum(1)]))
    a, b, c = np.concatenate(sums, axis=1)
    scale = math.sqrt(b.mean() * c.mean())
    if scale == 0:  # all images are equal
        return Correlation(0.0, 0.0)
    r = a.mean() / scale
    linear = a / scale - r * (b / b.mean() + c / c.mean()) / 2
    return Correlation(float(r), float(mean_and_error(linear)[1]))


def _rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))
