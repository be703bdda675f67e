"""Classification by likelihoods: probabilities of the classes, and whether these are as often right as they say."""

from typing import NamedTuple

import numpy as np
import scipy

from diffenc_jax.evaluation.means import share_interval

# Number of bins of the confidence, of equal width.
BINS = 10


class Bin(NamedTuple):
    """The images whose confidence, the probability of the predicted class, lies in (low, high].

    Attributes:
      low, high: ends of the bin.
      images: number of the images.
      confidence: their mean confidence.
      accuracy: the share of them whose prediction is right.
      accuracy_low, accuracy_high: ends of its 95 % interval (`means.share_interval`).
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def posterior(nats: np.ndarray) -> np.ndarray:
    """p(class | x) [N, K] for equally probable classes, from -log p(x | class) [N, K]."""
    return scipy.special.softmax(-nats, axis=1)


def log_score(nats: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log p(label | x) [N] in nats, for equally probable classes, from -log p(x | class) [N, K] and labels [N]."""
    return -np.take_along_axis(scipy.special.log_softmax(-nats, axis=1), labels[:, None], axis=1)[:, 0]


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Accuracy by confidence, from p(class | x) [N, K] and labels [N] (arXiv 1706.04599), in bins that have images."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    filled = []
    for i in np.unique(number):
        sure, hits = confidence[number == i], right[number == i]
        means, interval = (float(sure.mean()), float(hits.mean())), share_interval(int(hits.sum()), len(hits))
        filled.append(Bin(float(edges[i]), float(edges[i + 1]), len(hits), *means, *interval))
    return filled


def calibration_error(bins: list[Bin]) -> float:
    """Expected calibration error, Σ n |accuracy - confidence| / N over the bins (arXiv 1706.04599).

    Chance alone makes it positive: accuracies of few images vary.
    """
    errors = sum(one.images * abs(one.accuracy - one.confidence) for one in bins)
    return errors / sum(one.images for one in bins)
