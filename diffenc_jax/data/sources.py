"""Named data sets, whose names are in `table.py`, and users' own: files of arrays and folders of pictures.

If there is no test split, a fixed tenth of the images is held out as the test split.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core import parts
from diffenc_jax.core.errors import require
from diffenc_jax.data import array_files, checks, picture_folders, prepared
from diffenc_jax.data.images import NO_LABELS, Labels, LabelSpec, Source

DIGITS_TRAIN = 1500
SWIRL_SIZES = {"train": 50_000, "test": 10_000}


def digits(_: DataConfig) -> Source:
    """scikit-learn's 8x8 handwritten digits with 17 grey levels, in a fixed split of 1,500 and 297 images."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype(np.uint8)[..., None]
    order = np.random.RandomState(0).permutation(len(images))
    rows = {"train": order[:DIGITS_TRAIN], "test": order[DIGITS_TRAIN:]}
    splits, labels = (
        {split: partial(np.take, array, rows[split], axis=0) for split in rows} for array in (images, digits.target)
    )
    return Source("digits", "1", splits, lambda: Labels(labels, lambda: np.arange(10)))


def synthetic(_: DataConfig) -> Source:
    """Points along a spiral as 8-bit 'images' of 1x1 pixel and two channels.

    Radius 0.9 sqrt(u), angle 3π sqrt(u), u ~ U(0, 1), plus noise N(0, 0.02²), in 256 bins over [-1, 1].
    """

    def draw_points(split: str) -> np.ndarray:
        rng = np.random.RandomState(sorted(SWIRL_SIZES).index(split))
        root = np.sqrt(rng.uniform(size=SWIRL_SIZES[split]))
        angle = 3 * np.pi * root
        points = 0.9 * root[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        points += 0.02 * rng.normal(size=points.shape)
        bins = np.clip(np.floor((points + 1) * 128), 0, 255).astype(np.uint8)
        return bins[:, None, None, :]

    return Source("synthetic", "1", {split: partial(draw_points, split) for split in SWIRL_SIZES})


class NamedSource(NamedTuple):
    """A data set with a name.

    Attributes:
      shape: (height, width, channels); None if only the source knows it.
      open: function that opens the source that a configuration describes.
      tfds: name in tensorflow-datasets, which prepares it on first use; "" for sources that need no files.
      labels: kind of the labels; None if only the source knows it.
      argument: what follows the name and a colon in `data.source`, such as "SIDE"; "" if nothing does.
    """

    shape: tuple[int, int, int] | None
    open: Callable[[DataConfig], Source]
    tfds: str = ""
    labels: LabelSpec | None = NO_LABELS
    argument: str = ""


def _from_tfds(name: str, shape: tuple[int, int, int] | None = None, classes: int | None = None) -> NamedSource:
    return NamedSource(shape, partial(prepared.open_prepared, name), name, LabelSpec(classes) if classes else None)


DIGITS = NamedSource((8, 8, 1), digits, labels=LabelSpec(10))
SYNTHETIC = NamedSource((1, 1, 2), synthetic)
CIFAR10 = _from_tfds("cifar10", (32, 32, 3), 10)
MNIST = _from_tfds("mnist", (28, 28, 1), 10)
FASHION_MNIST = _from_tfds("fashion_mnist", (28, 28, 1), 10)
IMAGENET32 = _from_tfds("imagenet_resized/32x32", (32, 32, 3))
IMAGENET64 = _from_tfds("imagenet_resized/64x64", (64, 64, 3))


def named_source(name: str) -> NamedSource | None:
    """The source that `name` denotes: a known name, tfds:NAME or package.module:NAME; None for a path.

    A known name may have an argument, such as ising:16. Raises InputError if package.module:NAME is not a source, or
    for an argument that is missing or not wanted.
    """
    if name.startswith(prepared.PREFIX):
        return _from_tfds(name.removeprefix(prepared.PREFIX))
    if parts.is_import_path(name):
        return parts.load("data", name)
    known, _, argument = name.partition(":")
    if known not in parts.entries("data"):
        return None
    source: NamedSource = parts.load("data", known)
    wanted = f"{known}:{source.argument}" if source.argument else f"{known} alone"
    require(bool(argument) == bool(source.argument), f"data.source={name[:99]}: give {wanted}")
    return source


def all_images(path: Path) -> np.ndarray:
    """All images at `path`, a folder of pictures or a file with one array of images, as uint8 [N, H, W, C].

    Raises InputError, which names the file, if they cannot be read.
    """
    with checks.reading(path):
        return (picture_folders.all_pictures(path) if path.is_dir() else array_files.read_all(path, checks.IMAGES))[:]


def open_path(path: Path, resize: int | None = None, form: checks.Form = checks.IMAGES) -> Source:
    """Open the data at `path`; raises InputError, which names the file, if they cannot be read.

    Args:
      resize: side of the squares to which pictures are cropped and resized; only for folders of pictures.
      form: the form of arrays in a file.
    """
    with checks.reading(path):
        if not path.is_dir():
            splits, labels = array_files.open_file(path, form)
        else:
            splits, labels = array_files.open_idx_folder(path)
            if not splits:
                version = "local" if resize is None else f"local, resized to {resize}x{resize}"
                return Source(str(path), version, *picture_folders.open_folder(path, resize))
    if resize is not None:
        raise checks.refused(path, f"is not a folder of pictures, which data.resize={resize} needs; resize its arrays")
    return Source(str(path), "local", splits, labels)
