"""Named data sets, whose names are in `commands/table.py`, and users' own: files of arrays and folders of pictures.

If there is no test split, a fixed tenth of the images is held out as the test split.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core import parts
from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import require
from diffenc_jax.data import array_files, checks, picture_folders
from diffenc_jax.data.images import Labels, LabelSpec, Source
from diffenc_jax.data.named import NamedSource
from diffenc_jax.data.prepared import PREFIX, PreparedSource
from diffenc_jax.data.spec import DataSpec

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


DIGITS = NamedSource((8, 8, 1), digits, labels=LabelSpec(10))
SYNTHETIC = NamedSource((1, 1, 2), synthetic)
CIFAR10 = PreparedSource.of("cifar10", (32, 32, 3), 10)
MNIST = PreparedSource.of("mnist", (28, 28, 1), 10)
FASHION_MNIST = PreparedSource.of("fashion_mnist", (28, 28, 1), 10)
IMAGENET32 = PreparedSource.of("imagenet_resized/32x32", (32, 32, 3))
IMAGENET64 = PreparedSource.of("imagenet_resized/64x64", (64, 64, 3))


def named_source(data: DataConfig) -> NamedSource:
    """The source that `data` describes: a known name, tfds:NAME, package.module:NAME, or the data at a path.

    A known name may have an argument, such as ising:16.

    Raises InputError if there is no such source, if it has no use for `data.resize`, or for an argument that is missing
    or not wanted.
    """
    name = data.source
    if (source := _by_name(name)) is None:
        known = f"a known data set ({', '.join(sorted(parts.entries('data')))}, or tfds:NAME)"
        is_path = os.path.exists(name)
        require(is_path, f"data.source={name[:99]!r} is neither {known} nor a path that can be read")
        return NamedSource(None, open_path, labels=None)
    options = f"data.resize={data.resize} is for folders of pictures and for tensorflow-datasets; leave it out"
    require(isinstance(source, PreparedSource) or data.resize is None, options)
    return source


def _by_name(name: str) -> NamedSource | None:
    if name.startswith(PREFIX):
        return PreparedSource.of(name.removeprefix(PREFIX))
    if parts.is_import_path(name):
        return parts.load("data", name)
    known, _, argument = name.partition(":")
    if known not in parts.entries("data"):
        return None
    source: NamedSource = parts.load("data", known)
    wanted = f"{known}:{source.argument}" if source.argument else f"{known} alone"
    require(bool(argument) == bool(source.argument), f"data.source={name[:99]}: give {wanted}")
    return source


def located(data: DataConfig, workdir: Path) -> DataConfig:
    """The data of the run in `workdir` as this process finds them.

    A relative path that does not exist here is looked for in the folders above the run, the nearest first, so that a
    folder with runs and data can be moved or renamed.
    """
    name = data.source
    if is_here(data) or is_remote(workdir) or Path(name).is_absolute():
        return data
    found = next((folder / name for folder in workdir.absolute().parents if (folder / name).exists()), None)
    return data if found is None else replace(data, source=str(found))


def is_here(data: DataConfig) -> bool:
    """Whether the source is a known one, or a path that exists."""
    return _by_name(data.source) is not None or os.path.exists(data.source)


def open_source(data: DataConfig) -> Source:
    """The source that `data` describes; raises InputError if it cannot be opened."""
    return named_source(data).open(data)


def prepare(data: DataConfig) -> Source | None:
    """The data set of tensorflow-datasets that `data` names, prepared if necessary; None for other data.

    Raises InputError if it cannot be prepared.
    """
    source = named_source(data)
    return source.open(data) if isinstance(source, PreparedSource) else None


def spec_of(config: Config) -> DataSpec:
    """The kind of the data that `config` describes; those of a named data set need not be on this machine.

    Raises InputError as `named_source` and `NamedSource.spec` do.
    """
    return named_source(config.data).spec(config.data, config.model.labels)


def all_images(path: Path) -> np.ndarray:
    """All images at `path`, a folder of pictures or a file with one array of images, as uint8 [N, H, W, C].

    Raises InputError, which names the file, if they cannot be read.
    """
    with checks.reading(path):
        return (picture_folders.all_pictures(path) if path.is_dir() else array_files.read_all(path, checks.IMAGES))[:]


def open_path(data: DataConfig) -> Source:
    """Open the data at the path `data.source`; raises InputError, which names the file, if they cannot be read."""
    path, resize = Path(data.source), data.resize
    with checks.reading(path):
        if not path.is_dir():
            splits, labels = array_files.open_file(path, checks.REALS if data.pixel_levels is None else checks.IMAGES)
        else:
            splits, labels = array_files.open_idx_folder(path)
            if not splits:
                version = "local" if resize is None else f"local, resized to {resize}x{resize}"
                return Source(str(path), version, *picture_folders.open_folder(path, resize))
    if resize is not None:
        raise checks.refused(path, f"is not a folder of pictures, which data.resize={resize} needs; resize its arrays")
    return Source(str(path), "local", splits, labels)
