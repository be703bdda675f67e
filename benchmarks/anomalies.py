"""Anomaly scores: how well a trained run's bits/dim tell other images from its test images.

The other images are the first of the test split of --others, shrunk to the size and the levels of the run, and black
images. The area under the ROC curve (AUROC) is the probability that a random one of them has more bits than a random
test image of the run, with the standard error of DeLong (1988). Each image's bits are the mean over 1 to --passes
passes, in which the noise differs. The second table is of a density of features: the 64 values before the last layer of
a classifier of the training images, which therefore need labels.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator

import numpy as np
import records
import scipy

import diffenc_jax as dj
from diffenc_jax.commands.arguments import location, positive
from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.data.dataset import load_dataset

EXAMPLE = "python benchmarks/anomalies.py runs/digits-vdm-seed0 --others=fashion_mnist"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=location, metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument("--others", default="fashion_mnist", metavar="SOURCE", help="data set of grey images")
    parser.add_argument("--images", type=positive, default=2000, metavar="N", help="number of other images")
    parser.add_argument("--passes", type=positive, default=128, metavar="P", help="most passes over the images")


def run(arguments: argparse.Namespace) -> None:
    run = dj.open(arguments.workdir)
    others = load_dataset(DataConfig(arguments.others), "test").split("test").data[: arguments.images]
    shape, levels = run.model.spec.shape, run.model.spec.levels
    sets = {arguments.others: shrunk(others, shape[0], levels), "black images": np.zeros_like(run.test)}
    numbers = [passes for passes in (1, 4, 16, 32, 64, 128, 256) if passes < arguments.passes] + [arguments.passes]
    test = dict(zip(numbers, bits_per_dim(run, run.test, numbers), strict=True))
    lines = []
    for name, images in sets.items():
        for passes, bits in zip(numbers, bits_per_dim(run, images, numbers), strict=True):
            area, error = auroc(bits, test[passes])
            means = (f"{values.mean():.4f}" for values in (bits, test[passes]))
            lines.append([name, passes, *means, f"{area:.3f} ± {error:.3f}"])
    heads = ["images", "passes", "bits/dim", "bits/dim of the test images", "AUROC"]
    print(markdown(Table(heads, lines, f"{len(others):,} images of {arguments.others}")))
    heads = ["features of", "log p, nats", "log p of the test images", "AUROC"]
    print("\n" + markdown(Table(heads, list(by_features(run, sets)), "`arrays:vdm-few-fast`, by the exact ODE")))


def by_features(run: "dj.api.TrainedRun", sets: dict[str, np.ndarray]) -> Iterator[list[str]]:
    """Rows of a density of features."""
    from sklearn.neural_network import MLPClassifier

    data = load_dataset(run.config.data, "train", "test", labels=True)
    classifier = MLPClassifier((64,), activation="tanh", max_iter=1000, random_state=0)
    train, test = data.split("train"), data.split("test")
    classifier.fit(flat(run, train.data), train.labels)

    def features(images: np.ndarray) -> np.ndarray:
        return np.tanh(flat(run, images) @ classifier.coefs_[0] + classifier.intercepts_[0])

    with tempfile.TemporaryDirectory() as folder:
        arrays = {split.name: features(split.data) for split in (train, test)}
        np.savez(f"{folder}/features.npz", **arrays)
        density = dj.Run("arrays:vdm-few-fast", {"data.source": f"{folder}/features.npz"})
        state, _ = density.fit(f"{folder}/run")
    test = density.log_prob(density.test, state=state).nats
    for name, images in sets.items():
        nats = density.log_prob(features(images), state=state).nats
        area, error = auroc(-nats, -test)
        yield [name, f"{nats.mean():.1f}", f"{test.mean():.1f}", f"{area:.3f} ± {error:.3f}"]


def flat(run: "dj.api.TrainedRun", images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / run.model.spec.levels


def auroc(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The area, with ties counted half, and its standard error, from the ranks of `a` [m] and `b` [n].

    error² = var_i(V_i) / m + var_j(W_j) / n, with V_i the fraction of b below a_i, and W_j that of a below b_j.
    """
    m, n = len(a), len(b)
    ranks = scipy.stats.rankdata(np.concatenate([a, b]))
    v, w = (ranks[:m] - scipy.stats.rankdata(a)) / n, (ranks[m:] - scipy.stats.rankdata(b)) / m
    return v.mean(), np.sqrt(v.var(ddof=1) / m + w.var(ddof=1) / n)


def shrunk(images: np.ndarray, side: int, levels: int) -> np.ndarray:
    """Images uint8 [N, H, W, 1] of 256 levels as [N, side, side, 1] of `levels` levels.

    A pixel is the mean over a square, of the largest size that fits `side` times, at the centre of the image.
    """
    block = min(images.shape[1:3]) // side
    top, left = ((size - block * side) // 2 for size in images.shape[1:3])
    centre = images[:, top : top + block * side, left : left + block * side, 0]
    means = centre.reshape(-1, side, block, side, block, 1).mean(axis=(2, 4))
    return np.round(means * (levels - 1) / 255).astype(np.uint8)


def bits_per_dim(run: "dj.api.TrainedRun", images: np.ndarray, numbers: list[int]) -> Iterator[np.ndarray]:
    """[N] bits/dim of each image, the mean over each of the `numbers` of passes, which increase."""
    total, unit = np.zeros(len(images)), run.model.spec.dims * math.log(2)
    for seed in range(numbers[-1]):
        total += np.asarray(run.terms(run.params, images, seed).total)
        if seed + 1 in numbers:
            yield total / (seed + 1) / unit


if __name__ == "__main__":
    records.run_script(computes=True)
