"""Classification by likelihoods: probabilities of the classes, and whether these are as often right as they say."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from diffenc_jax.evaluation.means import share_interval

# Number of bins of the confidence, of equal width.
BINS = 10


def posterior(nats: np.ndarray) -> np.ndarray:
    """p(class | x) [N, K] for equally probable classes, from -log p(x | class) [N, K]."""
    return scipy.special.softmax(-nats, axis=1)


def log_score(nats: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log p(label | x) [N] in nats, for equally probable classes, from -log p(x | class) [N, K] and labels [N]."""
    return -np.take_along_axis(scipy.special.log_softmax(-nats, axis=1), labels[:, None], axis=1)[:, 0]


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> list[dict[str, Any]]:
    """Accuracy by confidence, from p(class | x) [N, K] and labels [N] (arXiv 1706.04599).

    Returns:
      A row per bin that has images. Its entries are
      low, high: ends of the bin: the confidence of its images, the probability of the predicted class, lies in
        (low, high].
      images: number of its images.
      confidence: their mean confidence.
      accuracy: the share of them whose prediction is right.
      accuracy_low, accuracy_high: ends of its 95 % interval (`means.share_interval`).
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = []
    for i in np.unique(number).tolist():
        sure, hits = confidence[number == i], right[number == i]
        low, high = share_interval(int(hits.sum()), len(hits))
        row = {"low": i / bins, "high": (i + 1) / bins, "images": len(hits), "confidence": float(sure.mean())}
        rows.append(row | {"accuracy": float(hits.mean()), "accuracy_low": low, "accuracy_high": high})
    return rows


def calibration_error(rows: Sequence[dict[str, Any]]) -> float:
    """Expected calibration error, Σ n |accuracy - confidence| / N over the bins of `reliability` (arXiv 1706.04599).

    Chance alone makes it positive: accuracies of few images vary.
    """
    errors = sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in rows)
    return errors / sum(row["images"] for row in rows)
