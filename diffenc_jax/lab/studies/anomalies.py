"""Anomaly scores: how well the bits/dim of a model, and a density of features, tell other images from test images."""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etils import epy

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.document import Table
from diffenc_jax.core.keys import Keyed, count, key
from diffenc_jax.core.numbers import Figure, format_number
from diffenc_jax.lab.studies.study import Array, Config, Rows, Study, TrainedRun, Watch

with epy.lazy_imports():  # help and the report need none of them
    import numpy as np
    import scipy
    import sklearn.neural_network

    from diffenc_jax import api
    from diffenc_jax.data import dataset

if TYPE_CHECKING:
    from diffenc_jax.data.dataset import Dataset

PASSES = (1, 4, 16, 32, 64, 128, 256)  # numbers of passes of the table, up to the last one
DENSITY, FEATURES = "arrays:vdm-few-fast", 64


@dataclass(frozen=True)
class Arguments(Keyed):
    """Arguments of the study."""

    others: str = key("fashion_mnist", "data set of grey images, the first of whose test images are scored")
    images: int = count(2000, "number of other images")
    passes: int = count(128, "most passes over the images")


@dataclass
class Scores:
    """Scores of other images, and of black ones, beside those of the test images.

    Attributes:
      others: number and data set of the other images.
      bits: a row per set of images and number of passes. Entries: images, passes, bpd and test_bpd; auroc with its
        standard error auroc_se.
      features: a row per set of images: images, nats and test_nats, the mean log p of features; auroc and auroc_se.
    """

    others: str
    bits: Rows
    features: Rows

    def tables(self) -> list[Table]:
        """A table by bits/dim, and one by features."""
        heads = ["images", "passes", "bits/dim", "bits/dim of the test images", "AUROC"]
        bits = [
            [row["images"], row["passes"], format_number(row["bpd"]), format_number(row["test_bpd"]), _area(row)]
            for row in self.bits
        ]
        log_p = [
            [row["images"], Figure("{:.1f}", row["nats"]), Figure("{:.1f}", row["test_nats"]), _area(row)]
            for row in self.features
        ]
        features = ["features of", "log p, nats", "log p of the test images, nats", "AUROC"]
        return [Table(heads, bits, self.others), Table(features, log_p, f"`{DENSITY}`, by the exact ODE")]

    def sentence(self) -> str:
        """'AUROC of fashion_mnist: 0.958 ± 0.004 by bits/dim in 128 passes, 0.841 ± 0.011 by features'."""
        name = self.features[0]["images"]
        last = [row for row in self.bits if row["images"] == name][-1]
        by_bits = f"{_area(last)} by bits/dim in {last['passes']} passes"
        return f"AUROC of {name}: {by_bits}, {_area(self.features[0])} by features"


def _area(row: Mapping[str, float]) -> Figure:
    return Figure("{:.3f} ± {:.3f}", row["auroc"], row["auroc_se"])


class Anomalies(Study[Arguments, Scores]):
    """Measure how well bits/dim tell other images from test images.

    The other images are the first of the test split of --others, shrunk to the size and the levels of the run, and
    black images. The area under the ROC curve (AUROC) is the probability that a random one of them has more bits than a
    random test image of the run, with the standard error of DeLong (1988). Each image's bits are the mean over 1 to
    --passes passes, in which the noise differs. The second table is of a density of features: the 64 values before the
    last layer of a classifier of the training images, which therefore need labels.
    """

    name = "anomalies"
    title = "Anomaly scores"
    EXAMPLE = "diffenc anomalies runs/digits-vdm-seed0 --others=fashion_mnist"
    arguments = Arguments
    result = Scores

    def applies(self, config: Config) -> bool:
        return config.data.pixel_levels is not None

    def measure(self, run: TrainedRun, arguments: Arguments, watch: Watch) -> Scores:
        labelled = dataset.load_dataset(run.config.data, "train", "test", labels=True)
        loaded = dataset.load_dataset(DataConfig(arguments.others), "test").split("test").data[: arguments.images]
        side, levels = run.model.spec.shape[0], run.model.spec.levels
        sets = {arguments.others: shrunk(loaded, side, levels), "black images": np.zeros_like(run.test)}
        numbers = [*(passes for passes in PASSES if passes < arguments.passes), arguments.passes]
        rows, images = [], {"": np.asarray(run.test), **sets}
        with watch("passes", len(images) * numbers[-1]) as advance:
            bits = {name: list(bits_per_dim(run, x, numbers, advance)) for name, x in images.items()}
        for name in sets:
            for passes, ours, theirs in zip(numbers, bits[name], bits[""], strict=True):
                means = {"bpd": float(ours.mean()), "test_bpd": float(theirs.mean())}
                rows.append({"images": name, "passes": passes, **means, **auroc(ours, theirs)})
        return Scores(f"{len(loaded):,} images of {arguments.others}", rows, list(by_features(run, labelled, sets)))


def by_features(run: TrainedRun, labelled: "Dataset", sets: Mapping[str, Array]) -> Iterator[dict[str, object]]:
    """Rows of a density of the features of a classifier of the images with their labels."""
    train, test = labelled.split("train"), labelled.split("test")
    settings = {"activation": "tanh", "max_iter": 1000, "random_state": 0}
    classifier = sklearn.neural_network.MLPClassifier((FEATURES,), **settings)

    def flat(images: Array) -> Array:
        return images.reshape(len(images), -1) / run.model.spec.levels

    def features(images: Array) -> Array:
        return np.tanh(flat(images) @ classifier.coefs_[0] + classifier.intercepts_[0])

    classifier.fit(flat(train.data), train.labels)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/features.npz", train=features(train.data), test=features(test.data))
        density = api.Run(DENSITY, {"data.source": f"{folder}/features.npz"})
        state, _ = density.fit(f"{folder}/run")
    log_p = density.log_prob(density.test, state=state).nats
    for name, images in sets.items():
        nats = density.log_prob(features(images), state=state).nats
        means = {"nats": float(nats.mean()), "test_nats": float(log_p.mean())}
        yield {"images": name, **means, **auroc(-nats, -log_p)}


def auroc(a: Array, b: Array) -> dict[str, float]:
    """The area, 'auroc', with ties counted half, and its standard error, from the ranks of `a` [m] and `b` [n].

    error² = var_i(V_i) / m + var_j(W_j) / n, with V_i the fraction of b below a_i, and W_j that of a below b_j.
    """
    m, n = len(a), len(b)
    ranks = scipy.stats.rankdata(np.concatenate([a, b]))
    v, w = (ranks[:m] - scipy.stats.rankdata(a)) / n, (ranks[m:] - scipy.stats.rankdata(b)) / m
    return {"auroc": float(v.mean()), "auroc_se": float(np.sqrt(v.var(ddof=1) / m + w.var(ddof=1) / n))}


def shrunk(images: Array, side: int, levels: int) -> Array:
    """Images uint8 [N, H, W, 1] of 256 levels as [N, side, side, 1] of `levels` levels.

    A pixel is the mean over a square, of the largest size that fits `side` times, at the centre of the image.
    """
    block = min(images.shape[1:3]) // side
    top, left = ((size - block * side) // 2 for size in images.shape[1:3])
    centre = images[:, top : top + block * side, left : left + block * side, 0]
    means = centre.reshape(-1, side, block, side, block, 1).mean(axis=(2, 4))
    return np.round(means * (levels - 1) / 255).astype(np.uint8)


def bits_per_dim(run: TrainedRun, images: Array, numbers: list[int], advance: Callable[[], None]) -> Iterator[Array]:
    """[N] bits/dim of each image, the mean over each of the `numbers` of passes, which increase."""
    total, unit = np.zeros(len(images)), run.model.spec.dims * math.log(2)
    for seed in range(numbers[-1]):
        total += np.asarray(run.terms(run.params, images, seed).total)
        advance()
        if seed + 1 in numbers:
            yield total / (seed + 1) / unit
