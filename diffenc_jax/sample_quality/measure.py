"""All that is measured of samples: JSON's values, each beside that of real images."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from diffenc_jax.data.dataset import Dataset, labels
from diffenc_jax.sample_quality import classes, features, fid, neighbours, pixels
from diffenc_jax.sample_quality.features import some
from diffenc_jax.sample_quality.neighbours import Neighbours

# Of samples and of test images that are looked at, but for nearest neighbours (all samples) and FID (all of both).
MOST = 10_000
PACKAGES = ("diffenc_jax", "numpy", "scipy", "scikit-learn")


class Compared(NamedTuple):
    """uint8 [N, H, W, C]: samples, as many training images, and test images, which training has not seen."""

    samples: np.ndarray
    train: np.ndarray
    unseen: np.ndarray


class Measured(NamedTuple):
    """The record, and the nearest training images of the samples and of the test images."""

    record: dict[str, Any]
    samples: Neighbours
    unseen: Neighbours


def measure(samples: np.ndarray, dataset: Dataset, config: ConfigDict, weights: Path | None) -> Measured:
    """Of uint8 `samples` [N, H, W, C] of the splits 'train' and 'test'; FID where there are `weights`."""
    train, test = dataset.splits["train"], dataset.splits["test"]
    count = min(len(samples), len(train), MOST)
    sets = Compared(samples[:count], some(train, count), some(test, MOST))
    found, unseen = (neighbours.nearest(images, train) for images in (samples, sets.unseen))
    record = {
        "samples": {"count": len(samples), "sha256": hashlib.sha256(samples.tobytes()).hexdigest()},
        "dataset": [dataset.fingerprint(split) for split in ("train", "test")],
        "compared": {name: len(images) for name, images in sets._asdict().items()},
        "neighbours": _neighbours(found, unseen),
        "pixels": _pixels(sets, dataset.levels),
        "principal_components": _features(features.principal_components(train), sets),
        "classes": _classes(sets, train, config),
        "fid": {"off": fid.OFF} if weights is None else _fid(samples, train, test, dataset.levels, weights),
        "software": {name: version(name) for name in PACKAGES},
    }
    return Measured(record, found, unseen)


def _neighbours(found: Neighbours, unseen: Neighbours) -> dict[str, Any]:
    return {
        "distance": {"samples": found.quantiles, "unseen": unseen.quantiles},
        "copies": {"samples": found.copies, "unseen": unseen.copies},
        "near": {"samples": neighbours.near(found, unseen), "unseen": neighbours.near(unseen, unseen)},
        "copying": _plain(neighbours.copying(found, unseen)),
    }


def _pixels(sets: Compared, levels: int) -> dict[str, Any]:
    apart = {
        name: pixels.differences(getattr(sets, name), sets.unseen, levels)._asdict() for name in ("samples", "train")
    }
    correlations = {name: _plain(pixels.correlations(images)) for name, images in sets._asdict().items()}
    return {"differences": apart, "correlations": correlations}


def _features(of: features.Features, sets: Compared) -> dict[str, Any]:
    return _plain(features.compare(*map(of, sets)))


def _classes(sets: Compared, train: np.ndarray, config: ConfigDict) -> dict[str, Any]:
    """Of a classifier that is trained for it, and in its logits; or why there is none."""
    known, of_unseen = labels(config, "train"), labels(config, "test")
    if known is None:
        return {"off": f"{config.data.source} has no labels here to train a classifier with"}
    if (count := len(np.unique(known))) > classes.MOST_CLASSES:
        return {"off": f"a classifier of pixels cannot tell {count} classes apart"}
    classifier = classes.train(train, known)
    seen = classes.look(classifier, sets.samples, sets.unseen, some(of_unseen, MOST))
    return _plain(seen) | {"logits": _features(classifier.logits, sets)}


def _fid(samples: np.ndarray, train: np.ndarray, test: np.ndarray, levels: int, weights: Path) -> dict[str, Any]:
    return {
        "samples": fid.fid(samples, train, levels, weights),
        "unseen": fid.fid(test, train, levels, weights),
        "counts": {"samples": len(samples), "unseen": len(test), "train": len(train)},
        "software": {name: version(name) for name in ("torch", "torch-fidelity")},
    }


def _plain(value: Any) -> Any:
    """NamedTuples as dictionaries, in depth."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, dict) else value
