"""The numbers of the quality of samples, each beside that of test images."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from diffenc_jax.config import Config
from diffenc_jax.core.buckets import as_path
from diffenc_jax.core.errors import require
from diffenc_jax.data import checks
from diffenc_jax.data.dataset import Dataset, load_dataset
from diffenc_jax.lab.studies.sample_quality.study import Arguments, Quality
from diffenc_jax.model import ImageSpec
from diffenc_jax.runs.files import list_paths, read_arrays, read_bytes
from diffenc_jax.runs.stored import StoredRun

LONGEST = 240  # bytes of the name of the samples' file, which the names of the study's files begin with
# Fewer samples or test images give no meaningful numbers.
FEWEST = 10
# Training images whose distances are computed at a time.
CHUNK = 10_000
# A sample is near if it is nearer to a training image than all but this fraction of the unseen images.
NEAR = 0.05
# Number of pairs that are drawn.
PAIRS = 12


@dataclass(frozen=True)
class Samples:
    """Samples uint8 [N, H, W, C] of a run, and the data set that they are like."""

    workdir: Path
    config: Config
    dataset: Dataset
    step: int
    file: Path
    images: np.ndarray


def open_samples(workdir: Path, arguments: Arguments, given: dict[str, Any], plugins: Collection[str]) -> Samples:
    """The samples to measure; raises InputError if there are none, or they are not like the images of the run."""
    config = StoredRun(workdir).config.allowing(plugins).replace(given | {"eval.split": "test"})
    path = as_path(arguments.samples) if arguments.samples else _last(workdir)
    require(
        len(os.fsencode(path.stem)) <= LONGEST, f"{path} has too long a name for the study's files; give it another"
    )
    arrays = read_arrays(read_bytes(path, "give a .npz file of samples"), packed=True) or {}
    require("images" in arrays, f"{path} is damaged, or holds no array 'images'; draw samples with diffenc sample")
    dataset, step = load_dataset(config.data, "train", "test"), path.stem.partition("-")[0]
    images = ImageSpec(dataset.shape, dataset.pixel_levels).pixels(checks.as_images(path, arrays["images"]))
    fewest = min(len(images), len(dataset.splits["test"]))
    require(fewest >= FEWEST, f"{fewest} samples or test images are too few to compare; take at least {FEWEST}")
    return Samples(workdir, config, dataset, int(step) if step.isdigit() else 0, path, images)


def _last(workdir: Path) -> Path:
    """The samples of the last step in a workdir."""
    by_step = {(int(p.stem.split("-")[0]), p) for p in list_paths(workdir / "samples", "*.npz") if p.stem[0].isdigit()}
    require(bool(by_step), f"{workdir} holds no samples; draw some with diffenc sample, or give --samples=FILE")
    return max(by_step)[1]


def measure_quality(given: Samples) -> Quality:
    """Quality of samples, each number beside that of test images."""
    samples, levels = given.images, given.dataset.pixel_levels
    train, test = (np.asarray(given.dataset.splits[split]) for split in ("train", "test"))
    (ours, numbers), (theirs, _) = nearest(samples, train), nearest(test, train)
    limit = np.quantile(theirs, NEAR)
    quality = {
        "median": [float(np.median(one)) for one in (ours, theirs)],
        "near": [float(np.mean(one < limit)) for one in (ours, theirs)],
        "copies": [float(np.mean(one == 0)) for one in (ours, theirs)],
    }
    z, p = scipy.stats.ranksums(ours, theirs)
    first = np.argsort(ours, kind="stable")[:PAIRS]
    return Quality(
        file=given.file.name,
        counts=[len(samples), len(train), len(test)],
        numbers=quality,
        copying=[float(z), float(p)],
        nearest=ours,
        unseen=theirs,
        pairs=(2 * np.stack([samples[first], train[numbers[first]]]) / (levels - 1) - 1).astype(np.float32),
    )


def nearest(images: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance [N] of uint8 `images` [N, H, W, C] to the nearest of `train` [M, H, W, C], and the numbers [N] of these.

    The first one is taken among equally near ones. Distances are L2 in levels, computed in float64 from whole numbers,
    so that those of copies are exactly zero.
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    flat = images.reshape(len(images), -1).astype(np.float64)
    distances, numbers = np.full(len(images), np.inf), np.zeros(len(images), np.int64)
    for start in range(0, len(train), CHUNK):
        chunk = train[start : start + CHUNK]
        places, between = pairwise_distances_argmin_min(flat, chunk.reshape(len(chunk), -1).astype(np.float64))
        nearer = between < distances
        distances[nearer], numbers[nearer] = between[nearer], places[nearer] + start
    return distances, numbers
