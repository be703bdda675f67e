"""The record of the quality of samples: JSON values, each beside that of real images."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.versions import OURS, package_version
from diffenc_jax.data import arrays
from diffenc_jax.data.dataset import Dataset, load_labels
from diffenc_jax.lab.studies.sample_quality import classes, features, fid, neighbours, pixels
from diffenc_jax.lab.studies.sample_quality.features import subset
from diffenc_jax.lab.studies.sample_quality.neighbours import Neighbours

# Fewer samples or test images give no meaningful numbers.
FEWEST = 10
# Upper limit of samples and of test images, except for nearest neighbours (all samples) and FID (all of both).
MOST = 10_000
PACKAGES = ("numpy", "scipy", "scikit-learn")


class Measured(NamedTuple):
    """The record, and the nearest training images of the samples and of the test images."""

    record: dict[str, Any]
    samples: Neighbours
    unseen: Neighbours


def read_samples(path: Path, dataset: Dataset) -> np.ndarray:
    """The samples at `path`, uint8 [N, H, W, C]; raises InputError unless they are like the images of `dataset`."""
    headers = arrays.npz_headers(path)
    require("images" in headers, f"{path} holds no array 'images'; give a file of `diffenc sample`")
    images = arrays.npz_images(path, "images")
    ours, theirs = list(images.shape[1:]), list(dataset.shape)
    require(ours == theirs, f"{path} holds images of {ours}, but those of {dataset.name} are {theirs}")
    largest, limit = int(images.max()), dataset.pixel_levels - 1
    require(largest <= limit, f"{path} holds the value {largest}, but those of {dataset.name} are 0 .. {limit}")
    require(len(images) >= FEWEST, f"{path} holds {len(images)} samples, too few to measure; draw more")
    return images


def measure_quality(samples: np.ndarray, dataset: Dataset, data: DataConfig, weights: Path | None) -> Measured:
    """Quality of `samples`, each number beside that of real images.

    Args:
      samples: uint8 [N, H, W, C].
      dataset: with the splits 'train' and 'test'.
      data: the section of the configuration that describes the data set; gives the labels.
      weights: file of the network for FID; None: no FID.
    """
    train, test = dataset.splits["train"], dataset.splits["test"]
    count = min(len(samples), len(train), MOST)
    # Samples, equally many training images, and test images, unseen in training.
    sets = {"samples": samples[:count], "train": subset(train, count), "unseen": subset(test, MOST)}
    found, unseen = (neighbours.nearest(images, train) for images in (samples, sets["unseen"]))
    record = {
        "samples": {"count": len(samples), "sha256": hashlib.sha256(samples.tobytes()).hexdigest()},
        "dataset": [dataset.fingerprint(split) for split in ("train", "test")],
        "compared": {name: len(images) for name, images in sets.items()},
        "neighbours": {
            "distance": {"samples": found.quantiles, "unseen": unseen.quantiles},
            "copies": {"samples": found.copies, "unseen": unseen.copies},
            "near": {"samples": neighbours.near(found, unseen), "unseen": neighbours.near(unseen, unseen)},
            "copying": neighbours.copying(found, unseen),
        },
        "pixels": {
            "differences": {
                name: pixels.pixel_differences(sets[name], sets["unseen"], dataset.pixel_levels)
                for name in ("samples", "train")
            },
            "correlations": {name: pixels.correlations(images) for name, images in sets.items()},
        },
        "principal_components": features.feature_distances(features.principal_components(train), **sets),
        "classes": _classes(sets, train, data),
        "fid": {"off": fid.OFF} if weights is None else _fid(samples, dataset, weights),
        "software": {OURS: package_version()} | {name: version(name) for name in PACKAGES},
    }
    return Measured(_plain(record), found, unseen)


def _classes(sets: dict[str, np.ndarray], train: np.ndarray, data: DataConfig) -> dict[str, Any]:
    """Predictions of a classifier, and distances in its logits; or the reason why there is none."""
    try:
        known, labels = (load_labels(data, split) for split in ("train", "test"))
    except InputError as error:  # labels that cannot be read, beside images that can
        return {"off": str(error)}
    if known is None:
        return {"off": f"{data.source} has no labels to train a classifier with"}
    count = len(np.unique(known))
    if not 2 <= count <= classes.MOST_CLASSES:
        return {"off": f"a classifier of pixels cannot distinguish {count} classes"}
    classifier = classes.train_classifier(train, known)
    predictions = classes.predict(classifier, sets["samples"], sets["unseen"], subset(labels, MOST))
    return predictions._asdict() | {"logits": features.feature_distances(classifier.logits, **sets)}


def _fid(samples: np.ndarray, dataset: Dataset, weights: Path) -> dict[str, Any]:
    train, test = dataset.splits["train"], dataset.splits["test"]
    return {
        "samples": fid.fid(samples, train, dataset.pixel_levels, weights),
        "unseen": fid.fid(test, train, dataset.pixel_levels, weights),
        "counts": {"samples": len(samples), "unseen": len(test), "train": len(train)},
        "software": {name: version(name) for name in ("torch", "torch-fidelity")},
    }


def _plain(value: Any) -> Any:
    """NamedTuples as dictionaries, at every depth of dictionaries."""
    value = value._asdict() if hasattr(value, "_asdict") else value
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, dict) else value
