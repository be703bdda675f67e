"""The numbers of the quality of samples, each beside that of test images."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.core.errors import require
from diffenc_jax.data import array_files
from diffenc_jax.data.dataset import Dataset, load_dataset
from diffenc_jax.lab.stats.distributions import rank_sum
from diffenc_jax.lab.stats.hypotheses import Outcome
from diffenc_jax.lab.studies.sample_quality import fid
from diffenc_jax.lab.studies.sample_quality.study import Arguments, Quality
from diffenc_jax.runs.files import exists, is_folder, list_paths
from diffenc_jax.runs.storage import local_copy
from diffenc_jax.runs.workdir import stored_config

# Fewer samples or test images give no meaningful numbers.
FEWEST = 10
# Upper limit of test images whose nearest training images are found.
MOST = 10_000
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


class Neighbours(NamedTuple):
    """The distance [N] of each image to the nearest training image, L2 in levels, and that image's number [N]."""

    distances: np.ndarray
    numbers: np.ndarray


def open_samples(workdir: Path, arguments: Arguments, given: dict[str, Any]) -> Samples:
    """The samples to measure; raises InputError if there are none, or they are not like the images of the run."""
    config = stored_config(workdir).replace(given | {"eval.split": "test"})
    path = arguments.samples or _last(workdir)
    require(exists(path) and not is_folder(path), f"{path} is not a file; give a .npz file of samples")
    if arguments.fid_weights is not None:
        fid.check_weights(arguments.fid_weights)
    dataset, number = load_dataset(config.data, "train", "test"), re.match(r"\d+", path.name)
    tests, channels = len(dataset.splits["test"]), dataset.shape[2]
    require(tests >= FEWEST, f"{dataset.name} has {tests} test images, too few to compare samples with")
    require(
        arguments.fid_weights is None or channels in (1, 3),
        f"FID needs grey or RGB images, these have {channels} channels",
    )
    with local_copy(path) as copy:
        images = read_samples(copy, dataset)
    return Samples(workdir, config, dataset, int(number[0]) if number else 0, path, images)


def _last(workdir: Path) -> Path:
    """The samples of the last step in a workdir."""
    found = [
        (int(match[0]), path)
        for path in list_paths(workdir / "samples", "*.npz")
        if (match := re.match(r"\d+", path.name))
    ]
    require(bool(found), f"{workdir} holds no samples; draw some with diffenc sample, or give --samples=FILE")
    return max(found)[1]


def read_samples(path: Path, dataset: Dataset) -> np.ndarray:
    """The samples at `path`, uint8 [N, H, W, C]; raises InputError unless they are like the images of `dataset`."""
    images = array_files.npz_images(path, "images")
    ours, theirs = list(images.shape[1:]), list(dataset.shape)
    require(ours == theirs, f"{path} holds images of {ours}, but those of {dataset.name} are {theirs}")
    largest, limit = int(images.max()), dataset.pixel_levels - 1
    require(largest <= limit, f"{path} holds the value {largest}, but those of {dataset.name} are 0 .. {limit}")
    require(len(images) >= FEWEST, f"{path} holds {len(images)} samples, too few to measure; draw more")
    return images


def measure_quality(given: Samples, weights: Path | None) -> Quality:
    """Quality of samples, each number beside that of test images.

    Args:
      weights: file of the network for FID; None: no FID.
    """
    samples, levels = given.images, given.dataset.pixel_levels
    train, test = (np.asarray(given.dataset.splits[split]) for split in ("train", "test"))
    ours, theirs = nearest(samples, train), nearest(subset(test, MOST), train)
    limit = np.quantile(theirs.distances, NEAR)
    both = ours.distances, theirs.distances
    numbers = {
        "median": [float(np.median(distances)) for distances in both],
        "low": [float(np.quantile(distances, 0.05)) for distances in both],
        "near": [float(np.mean(distances < limit)) for distances in both],
        "copies": [float(np.mean(distances == 0)) for distances in both],
    }
    if weights is not None:
        numbers["fid"] = [fid.fid(images, train, levels, weights) for images in (samples, test)]
    test_of = copying(ours, theirs)
    return Quality(
        file=given.file.name,
        sha256=hashlib.sha256(samples.tobytes()).hexdigest(),
        count=len(samples),
        train=len(train),
        test=len(test),
        numbers=numbers,
        copying=[float(test_of.statistic), float(test_of.p_two_sided)],
        nearest=ours.distances,
        unseen=theirs.distances,
        pairs=_pairs(samples, train, ours, levels),
    )


def nearest(images: np.ndarray, train: np.ndarray) -> Neighbours:
    """Nearest of `train` [M, H, W, C] to each of uint8 `images` [N, H, W, C]; the first one among equally near ones.

    Distances are computed in float64 from whole numbers, so that those of copies are exactly zero.
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    ours = flatten(images, np.float64)
    distances, numbers = np.full(len(images), np.inf), np.zeros(len(images), np.int64)
    for start in range(0, len(train), CHUNK):
        found, between = pairwise_distances_argmin_min(ours, flatten(train[start : start + CHUNK], np.float64))
        nearer = between < distances
        distances[nearer], numbers[nearer] = between[nearer], found[nearer] + start
    return Neighbours(distances, numbers)


def copying(samples: Neighbours, unseen: Neighbours) -> Outcome:
    """The global data-copying test Z_U (Meehan et al., arXiv 2004.05675, section 3): ranks of the distances.

    Far below zero, samples lie nearer to training images than images of the same distribution: they are copies. Far
    above zero, samples lie farther away than real images.
    """
    return rank_sum(samples.distances, unseen.distances)


def subset(images: np.ndarray, count: int) -> np.ndarray:
    """A fixed random subset of `count` images in their order; all images if there are no more."""
    if len(images) <= count:
        return images
    return images[np.sort(np.random.RandomState(0).permutation(len(images))[:count])]


def flatten(images: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """[N, H W C] of images [N, H, W, C]."""
    return images.reshape(len(images), -1).astype(dtype)


def _pairs(samples: np.ndarray, train: np.ndarray, found: Neighbours, levels: int) -> np.ndarray:
    """`Quality.pairs`."""
    orders = (np.argsort(found.distances, kind="stable")[:PAIRS], np.arange(min(PAIRS, len(samples))))
    pictures = [images for rows in orders for images in (samples[rows], train[found.numbers[rows]])]
    return (2 * np.stack(pictures) / (levels - 1) - 1).astype(np.float32)
