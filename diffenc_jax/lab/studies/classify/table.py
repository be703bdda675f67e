"""Accuracy and calibration of a classification, as a table and as totals.

Columns of the table, a row per bin of the confidence: low and high, the ends of the bin; images in it; their mean
confidence; their accuracy, and the ends of its 95 % interval (accuracy_low, accuracy_high). Empty without images.
"""

import math
from typing import Any

import numpy as np

from diffenc_jax.core.document import Table
from diffenc_jax.core.numbers import format_interval
from diffenc_jax.evaluation.means import mean_and_error, share_interval
from diffenc_jax.lab.stats.calibration import calibration_error, log_score, posterior, reliability
from diffenc_jax.lab.studies.outputs import Rows

FOLDER = "classify"


def tabulate(nats: np.ndarray, labels: np.ndarray) -> Rows:
    """The table, for nats [G, N, K] and the images' own labels [N]."""
    return [one._asdict() for one in reliability(posterior(nats.mean(axis=0)), labels)]


def totals(nats: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The totals, JSON values, for nats [G, N, K] and the images' own labels [N].

    Returns:
      'images', 'classes'; 'accuracy' with its 'mean' and 95 % 'interval' (`means.share_interval`); 'log_score',
      -log p(label | x) in nats, with its 'mean' and 'standard_error' over images; 'calibration_error';
      'accuracy_by_class', None for a class without images; 'noise', see `noise_of`.
    """
    groups, nats = nats, nats.mean(axis=0)
    right = nats.argmin(axis=1) == labels
    score, score_error = mean_and_error(log_score(nats, labels))
    by_class = [right[labels == label] for label in range(nats.shape[1])]
    return {
        "images": len(nats),
        "classes": nats.shape[1],
        "accuracy": {"mean": float(right.mean()), "interval": share_interval(int(right.sum()), len(right))},
        "log_score": {"mean": float(score), "standard_error": float(score_error)},
        "calibration_error": calibration_error(reliability(posterior(nats), labels)),
        "accuracy_by_class": [float(one.mean()) if len(one) else None for one in by_class],
        "noise": noise_of(groups),
    }


def noise_of(nats: np.ndarray) -> float | None:
    """Standard error in nats, by the noise, of the difference between the two smallest bounds of an image.

    It is the root mean square over the images, from the differences between the G groups of nats [G, N, K]; None for
    one group. Noise of the order of a nat or more makes classes look certain that are not.
    """
    if len(nats) == 1:
        return None
    best = np.argsort(nats.mean(axis=0), axis=1)[None, :, :2]
    difference = np.diff(np.take_along_axis(nats, best, axis=2), axis=2)
    return float(np.sqrt(np.mean(difference.var(axis=0, ddof=1)) / len(nats)))


def reliability_table(rows: Rows, subject: str) -> Table:
    """The bins that hold images."""
    lines = []
    for row in rows:
        if row["images"]:
            ends = f"{row['low']:.1f} .. {row['high']:.1f}"
            interval = f"{row['accuracy_low']:.3f} .. {row['accuracy_high']:.3f}"
            lines.append([ends, row["images"], f"{row['confidence']:.3f}", f"{row['accuracy']:.3f}", interval])
    heads = ["confidence in", "images", "mean confidence", "accuracy", "95 % interval"]
    return Table(heads, lines, f"{subject}: accuracy by confidence")


def summary(found: dict[str, Any]) -> str:
    """'accuracy 0.9731 (95 % interval 0.9480 .. 0.9863) of 297 images in 10 classes; ...', the totals in one line."""
    accuracy, score = found["accuracy"], found["log_score"]
    interval = f"95 % interval {format_interval(accuracy['interval'])}"
    parts = [
        f"accuracy {accuracy['mean']:.4f} ({interval}) of {found['images']} images in {found['classes']} classes",
        f"-log p(label | x) {score['mean']:.4f} ± {score['standard_error']:.4f} nats "
        f"(chance {math.log(found['classes']):.4f})",
        f"expected calibration error {found['calibration_error']:.4f}",
    ]
    if found["noise"] is not None:
        parts.append(f"noise of the difference between two labels {found['noise']:.3f} nats")
    return "; ".join(parts)
