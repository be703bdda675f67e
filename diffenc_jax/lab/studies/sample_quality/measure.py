"""The numbers of the quality of samples, each beside that of test images."""

import hashlib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.core.buckets import as_path
from diffenc_jax.core.errors import require
from diffenc_jax.data import checks
from diffenc_jax.data.dataset import Dataset, load_dataset
from diffenc_jax.lab.stats.distributions import rank_sum
from diffenc_jax.lab.stats.hypotheses import Outcome
from diffenc_jax.lab.studies.sample_quality.study import Arguments, Quality
from diffenc_jax.model import ImageSpec
from diffenc_jax.runs.files import list_paths, read_arrays, read_bytes
from diffenc_jax.runs.workdir import stored_config
from diffenc_jax.sampling.pictures import grey_values

FILE = "weights-inception-2015-12-05-6726825d.pth"
# Digest of the network that defines FID. torch-fidelity unpickles the file, so no other file is accepted.
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
WHERE = f"{FILE}, from https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0"
INSTALL = "pip install 'diffenc_jax[fid]'"
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
    config = stored_config(workdir).allowing(plugins).replace(given | {"eval.split": "test"})
    path = as_path(arguments.samples) if arguments.samples else _last(workdir)
    require(
        len(os.fsencode(path.stem)) <= LONGEST, f"{path} has too long a name for the study's files; give it another"
    )
    arrays = read_arrays(read_bytes(path, "give a .npz file of samples"), packed=True) or {}
    require("images" in arrays, f"{path} is damaged, or holds no array 'images'; draw samples with diffenc sample")
    dataset, step = load_dataset(config.data, "train", "test"), path.stem.partition("-")[0]
    if arguments.fid_weights is not None:
        check_weights(Path(arguments.fid_weights), dataset.shape[2])
    images = ImageSpec(dataset.shape, dataset.pixel_levels).pixels(checks.as_images(path, arrays["images"]))
    fewest = min(len(images), len(dataset.splits["test"]))
    require(fewest >= FEWEST, f"{fewest} samples or test images are too few to compare; take at least {FEWEST}")
    return Samples(workdir, config, dataset, int(step) if step.isdigit() else 0, path, images)


def _last(workdir: Path) -> Path:
    """The samples of the last step in a workdir."""
    by_step = {(int(p.stem.split("-")[0]), p) for p in list_paths(workdir / "samples", "*.npz") if p.stem[0].isdigit()}
    require(bool(by_step), f"{workdir} holds no samples; draw some with diffenc sample, or give --samples=FILE")
    return max(by_step)[1]


def measure_quality(given: Samples, weights: str | None) -> Quality:
    """Quality of samples, each number beside that of test images.

    Args:
      weights: file of the network for FID; None: no FID.
    """
    samples, levels = given.images, given.dataset.pixel_levels
    train, test = (np.asarray(given.dataset.splits[split]) for split in ("train", "test"))
    (ours, numbers), (theirs, _) = nearest(samples, train), nearest(test, train)
    statistics: dict[str, Callable[[np.ndarray], np.floating]] = {
        "median": np.median,
        "near": lambda distances: np.mean(distances < np.quantile(theirs, NEAR)),
        "copies": lambda distances: np.mean(distances == 0),
    }
    quality = {name: [float(of(distances)) for distances in (ours, theirs)] for name, of in statistics.items()}
    if weights is not None:
        quality["fid"] = [fid(images, train, levels, weights) for images in (samples, test)]
    outcome, first = copying(ours, theirs), np.argsort(ours, kind="stable")[:PAIRS]
    return Quality(
        file=given.file.name,
        counts=[len(samples), len(train), len(test)],
        numbers=quality,
        copying=[float(outcome.statistic), float(outcome.p_two_sided)],
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


def copying(samples: np.ndarray, unseen: np.ndarray) -> Outcome:
    """The global data-copying test Z_U (Meehan et al., arXiv 2004.05675, section 3): ranks of the distances.

    Far below zero, samples lie nearer to training images than images of the same distribution: they are copies. Far
    above zero, samples lie farther away than real images.
    """
    return rank_sum(samples, unseen)


def check_weights(weights: Path, channels: int) -> None:
    """Raise InputError unless FID of images with these channels can be computed with the file `weights`."""
    require(all(map(find_spec, ("torch", "torch_fidelity"))), f"FID needs torch-fidelity; run {INSTALL}")
    require(channels in (1, 3), f"FID needs grey or RGB images, these have {channels} channels")
    with checks.reading(weights), checks.regular(weights).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    require(digest == SHA256, f"{weights} is not the network that defines FID (sha256 {digest[:12]}); take {WHERE}")


def fid(a: np.ndarray, b: np.ndarray, levels: int, weights: str) -> float:
    """FID (Heusel et al., arXiv 1706.08500) by torch-fidelity between uint8 [N, H, W, C] and [M, H, W, C], grey or RGB.

    The network sees grey as three equal channels. FID is biased upwards for few images; published values compare 50,000
    samples with all training images.
    """
    import torch
    from torch_fidelity import KEY_METRIC_FID, calculate_metrics

    class Images(torch.utils.data.Dataset):
        """Images uint8 [3, H, W] of 256 levels."""

        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def __getitem__(self, number):
            image = grey_values(self.images[number], levels)
            return torch.from_numpy(np.repeat(image, 3 // image.shape[-1], axis=-1).transpose(2, 0, 1).copy())

    metrics = calculate_metrics(
        input1=Images(a),
        input2=Images(b),
        fid=True,
        feature_extractor_weights_path=weights,
        cuda=torch.cuda.is_available(),
        cache=False,
        save_cpu_ram=True,  # read the images in this process
        verbose=False,
    )
    return float(metrics[KEY_METRIC_FID])
