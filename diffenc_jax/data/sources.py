"""The named data sets: a function each, from the folder that keeps them to a `Source`."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from diffenc_jax.data.files import Source
from diffenc_jax.errors import InputError

DIGITS_TRAIN = 1500
SWIRL_SIZES = {"train": 50_000, "test": 10_000}


def digits(_: Path | None) -> Source:
    """scikit-learn's 8x8 handwritten digits, 17 grey levels; a fixed split of 1,500 and 297."""
    from sklearn.datasets import load_digits

    images = load_digits().images.astype(np.uint8)[..., None]
    order = np.random.RandomState(0).permutation(len(images))
    return Source(
        "digits",
        "1",
        {"train": lambda: images[order[:DIGITS_TRAIN]], "test": lambda: images[order[DIGITS_TRAIN:]]},
    )


def synthetic(_: Path | None) -> Source:
    """An 8-bit swirl: points along a spiral, as 'images' of 1x1 pixel and two channels.

    Radius sqrt(u) times 0.9 and angle 3π sqrt(u), u ~ U(0, 1), blurred by N(0, 0.02²), cut into
    256 bins over [-1, 1].
    """

    def draw(split: str) -> np.ndarray:
        rng = np.random.RandomState(sorted(SWIRL_SIZES).index(split))
        root = np.sqrt(rng.uniform(size=SWIRL_SIZES[split]))
        angle = 3 * np.pi * root
        points = 0.9 * root[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        points += 0.02 * rng.normal(size=points.shape)
        bins = np.clip(np.floor((points + 1) * 128), 0, 255).astype(np.uint8)
        return bins[:, None, None, :]

    return Source("synthetic", "1", {split: partial(draw, split) for split in SWIRL_SIZES})


def _tensorflow_datasets(name: str, test: str, archive: str, data_dir: Path | None) -> Source:
    """A data set of tensorflow-datasets, prepared on first use and decoded into memory.

    Args:
      name: its name there.
      test: the name there of the split that is ours to test on.
      archive: the files to put by hand where there is no network.
      data_dir: None for tensorflow-datasets' own default.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("NO_GCE_CHECK", "true")
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
        builder.download_and_prepare()
    except Exception as error:
        manual = (data_dir or Path(tfds.core.constants.DATA_DIR).expanduser()) / "downloads" / "manual"
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{name} could not be downloaded and prepared ({type(error).__name__}: {reason[:200]}); "
            f"put {archive} into {manual} by hand and run again"
        ) from error
    splits = {"train": "train", "test": test}
    return Source(
        name, str(builder.version), {ours: partial(_decode, builder, theirs) for ours, theirs in splits.items()}
    )


def _decode(builder, split: str) -> np.ndarray:
    """All images of a prepared split, in a fixed order."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    tf.config.set_visible_devices([], "GPU")
    count = builder.info.splits[split].num_examples
    images = np.empty((count, *builder.info.features["image"].shape), np.uint8)
    read = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    rows = builder.as_dataset(split=split, shuffle_files=False, read_config=read).map(lambda row: row["image"])
    at = 0
    for batch in tfds.as_numpy(rows.batch(1024)):
        images[at : at + len(batch)] = batch
        at += len(batch)
    return images


def _from_tfds(name: str, test: str, archive: str) -> Callable[[Path | None], Source]:
    return partial(_tensorflow_datasets, name, test, archive)


SOURCES: dict[str, Callable[[Path | None], Source]] = {
    "digits": digits,
    "synthetic": synthetic,
    "cifar10": _from_tfds("cifar10", "test", "cifar-10-binary.tar.gz"),
    "mnist": _from_tfds("mnist", "test", "train-images-idx3-ubyte.gz and its three companions"),
    "fashion_mnist": _from_tfds("fashion_mnist", "test", "train-images-idx3-ubyte.gz and its three companions"),
    "imagenet32": _from_tfds(
        "imagenet_resized/32x32", "validation", "Imagenet32_train_npz.zip and Imagenet32_val_npz.zip"
    ),
    "imagenet64": _from_tfds(
        "imagenet_resized/64x64",
        "validation",
        "Imagenet64_train_part1_npz.zip, Imagenet64_train_part2_npz.zip and Imagenet64_val_npz.zip",
    ),
}
