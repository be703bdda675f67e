"""Registry of named data sets."""

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np

from diffenc_jax.core.errors import InputError, first_line
from diffenc_jax.data.user_files import Source

DIGITS_TRAIN = 1500
SWIRL_SIZES = {"train": 50_000, "test": 10_000}


def digits(_: Path | None) -> Source:
    """scikit-learn's 8x8 handwritten digits with 17 grey levels, in a fixed split of 1,500 and 297 images."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype(np.uint8)[..., None]
    order = np.random.RandomState(0).permutation(len(images))
    rows = {"train": order[:DIGITS_TRAIN], "test": order[DIGITS_TRAIN:]}
    splits, labels = (
        {split: partial(np.take, array, rows[split], axis=0) for split in rows} for array in (images, digits.target)
    )
    return Source("digits", "1", splits, labels)


def synthetic(_: Path | None) -> Source:
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


def _tensorflow_datasets(name: str, test: str, archives: str, data_dir: Path | None) -> Source:
    """A data set of tensorflow-datasets, prepared on first use; only requested images are decoded.

    Args:
      name: its name in tensorflow-datasets.
      test: name of the test split there.
      archives: common prefix of the file names of the archives that it is prepared from.
      data_dir: folder of prepared data sets; None for the default of tensorflow-datasets.
    """
    os.environ.setdefault("NO_GCE_CHECK", "true")  # saves a time-out outside Google's cloud
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    if not builder.is_prepared():
        manual = (data_dir or Path(tfds.core.constants.DATA_DIR).expanduser()) / "downloads" / "manual"
        urls = {info.filename: url for url, info in builder.url_infos.items() if info.filename.startswith(archives)}
        missing = {file: url for file, url in urls.items() if not (manual / file).exists()}
        by_hand = f"put {', '.join(missing or urls)}, as published, into {manual} by hand and run again"
        for url in missing.values():
            if not _resolves(url):
                raise InputError(f"{name} cannot be downloaded: {urlsplit(url).hostname} cannot be reached; {by_hand}")
        try:
            builder.download_and_prepare()
        except Exception as error:  # network, disk and archives raise anything
            reason = first_line(error)[:200]
            raise InputError(f"{name} could not be prepared ({type(error).__name__}: {reason}); {by_hand}") from error
    splits = {"train": "train", "test": test}
    images = {ours: partial(_Prepared, builder, theirs, "image") for ours, theirs in splits.items()}
    labels = {ours: lambda theirs=theirs: _Prepared(builder, theirs, "label")[:] for ours, theirs in splits.items()}
    return Source(name, str(builder.version), images, labels)


def _resolves(url: str) -> bool:
    """Whether the URL's host has an address or a proxy is set. tensorflow-datasets itself retries for minutes."""
    if getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(urlsplit(url).hostname, None))
    except OSError:
        return False


class _Prepared:
    """Images or labels of a prepared split in a fixed order, read as `data.images.Images`."""

    def __init__(self, builder, split: str, feature: str):
        self._builder, self._split, self._feature = builder, split, feature
        self.shape = (builder.info.splits[split].num_examples, *builder.info.features[feature].shape)

    def __getitem__(self, rows: slice) -> np.ndarray:
        import tensorflow as tf
        import tensorflow_datasets as tfds

        tf.config.set_visible_devices([], "GPU")
        start, stop, _ = rows.indices(self.shape[0])
        found = np.empty((stop - start, *self.shape[1:]), self._builder.info.features[self._feature].np_dtype)
        read = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        split = tfds.core.ReadInstruction(self._split, from_=start, to=stop, unit="abs")
        only = tfds.decode.PartialDecoding({self._feature: True})
        wanted = self._builder.as_dataset(split=split, shuffle_files=False, read_config=read, decoders=only)
        at = 0
        for batch in tfds.as_numpy(wanted.map(lambda row: row[self._feature]).batch(1024)):
            found[at : at + len(batch)] = batch
            at += len(batch)
        return found


class NamedSource(NamedTuple):
    """Entry of the registry. `open` takes the folder that holds data sets, or None for its default.

    `shape` is (height, width, channels). `prepared` says whether the data set is downloaded and prepared on first use.
    """

    shape: tuple[int, int, int]
    open: Callable[[Path | None], Source]
    prepared: bool = False


def _from_tfds(shape: tuple[int, int, int], name: str, test: str = "test", archives: str = "") -> NamedSource:
    return NamedSource(shape, partial(_tensorflow_datasets, name, test, archives), prepared=True)


SOURCES: dict[str, NamedSource] = {
    "digits": NamedSource((8, 8, 1), digits),
    "synthetic": NamedSource((1, 1, 2), synthetic),
    "cifar10": _from_tfds((32, 32, 3), "cifar10"),
    "mnist": _from_tfds((28, 28, 1), "mnist"),
    "fashion_mnist": _from_tfds((28, 28, 1), "fashion_mnist"),
    "imagenet32": _from_tfds((32, 32, 3), "imagenet_resized/32x32", "validation", "Imagenet32"),
    "imagenet64": _from_tfds((64, 64, 3), "imagenet_resized/64x64", "validation", "Imagenet64"),
}
