"""Bands of data sets: each band is a data set, with the coarse images that a decoder knows as labels."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from cascade.bands import Transform
from diffenc_jax.config.sections import DataConfig
from diffenc_jax.data.images import Images, LabelArrays, LabelSpec, OnDemand, Source
from diffenc_jax.data.sources import NamedSource, open_source

FILES = "*images*idx3-ubyte*"  # in data.dir, of Fashion-MNIST


def whole(name: str, data: DataConfig) -> Source:
    """The images: from the files in `data.dir`, if it holds Fashion-MNIST as published; otherwise by name."""
    given = data.dir is not None and any(Path(data.dir).glob(FILES))
    return open_source(replace(data, source=data.dir if given else name))


def bands(name: str, kind: str, shape: tuple[int, int, int], splits: int) -> list[NamedSource]:
    """The coarse images and the details of a data set, after each of several splits.

    Args:
      name, shape: the data set, and the shape of its images.
      kind: kind of the `Transform`.
      splits: number of splits.
    """
    sources, (height, width, channels) = [], shape
    for times in range(1, splits + 1):
        small = (height >> times, width >> times, channels)
        sources.append(NamedSource(small, partial(coarse, name, kind, times)))
        details_of = partial(details, name, kind, times, small)
        sources.append(NamedSource((*small[:2], 3 * channels), details_of, labels=LabelSpec(shape=small)))
    return sources


def coarse(name: str, kind: str, times: int, data: DataConfig) -> Source:
    """The coarse images after `times` splits."""
    images, transform = whole(name, data), Transform(kind, data.pixel_levels)
    splits = _each(images, lambda pixels: transform.parts(pixels, times)[0][0])
    return Source(f"{name}-{kind}-coarse-{times}", images.version, splits)


def details(name: str, kind: str, times: int, label: tuple[int, int, int], data: DataConfig) -> Source:
    """The details of the last of `times` splits. Their labels are the coarse images, of the shape `label`."""
    images, transform = whole(name, data), Transform(kind, data.pixel_levels)
    splits = _each(images, lambda pixels: transform.parts(pixels, times)[1][0])
    labels = LabelArrays(coarse(name, kind, times, data).splits, LabelSpec(shape=label))
    return Source(f"{name}-{kind}-details-{times}", images.version, splits, lambda: labels)


def _each(source: Source, made: Callable[[np.ndarray], np.ndarray]) -> dict[str, Callable[[], Images]]:
    """The splits of a source, with images replaced by `made(images)`."""

    def opened(split: str) -> Images:
        images = source.splits[split]()
        return OnDemand((images.shape[0], *made(images[:1]).shape[1:]), lambda start, stop: made(images[start:stop]))

    return {split: partial(opened, split) for split in source.splits}


SHAPES = {"digits": (8, 8, 1), "fashion_mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
DIGITS, FASHION, CIFAR10 = (NamedSource(shape, partial(whole, name)) for name, shape in SHAPES.items())
DIGITS_COARSE_1, DIGITS_DETAILS_1, DIGITS_COARSE_2, DIGITS_DETAILS_2 = bands("digits", "haar", SHAPES["digits"], 2)
DIGITS_PIXELS_COARSE, DIGITS_PIXELS_DETAILS = bands("digits", "pixels", SHAPES["digits"], 1)
FASHION_COARSE_1, FASHION_DETAILS_1, FASHION_COARSE_2, FASHION_DETAILS_2 = bands(
    "fashion_mnist", "haar", SHAPES["fashion_mnist"], 2
)
FASHION_PIXELS_COARSE, FASHION_PIXELS_DETAILS = bands("fashion_mnist", "pixels", SHAPES["fashion_mnist"], 1)
CIFAR10_COARSE_1, CIFAR10_DETAILS_1, CIFAR10_COARSE_2, CIFAR10_DETAILS_2 = bands(
    "cifar10", "haar", SHAPES["cifar10"], 2
)
CIFAR10_PIXELS_COARSE, CIFAR10_PIXELS_DETAILS = bands("cifar10", "pixels", SHAPES["cifar10"], 1)
