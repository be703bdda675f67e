"""The bound of every image under every label, under common noise."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from diffenc_jax.core.errors import RunError
from diffenc_jax.data.pipeline import eval_batches
from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.evaluation.evaluator import eval_precision, in_eval_dtype
from diffenc_jax.evaluation.means import mean_and_error, share_interval
from diffenc_jax.lab.stats.calibration import calibration_error, log_score, posterior, reliability
from diffenc_jax.lab.studies.classify.study import Classification
from diffenc_jax.lab.studies.study import Watch
from diffenc_jax.lab.studies.sweep import OnPart, batch_size, num_batches, split_images
from diffenc_jax.parallel.memory import within_memory
from diffenc_jax.parallel.sharding import in_flight, to_devices
from diffenc_jax.runs.trained import Trained


def classify(run: Trained, watch: Watch) -> Classification:
    """Classify the images of the split that `run` evaluates on by the bounds under each label."""
    run = in_eval_dtype(run)
    bound, split = Bound(run), run.config.eval.split
    with watch(f"bound of {split} under {run.model.spec.num_classes} labels", 1.0) as on_part:
        nats = measure_bounds(run, bound, on_part)
    return summarize(nats, np.asarray(run.dataset.labels[split]), bound.describe())


def summarize(groups: np.ndarray, labels: np.ndarray, estimator: dict[str, Any]) -> Classification:
    """The result for nats [G, N, K] of G groups of passes and the images' own labels [N]."""
    nats = groups.mean(axis=0)
    right, bins = nats.argmin(axis=1) == labels, reliability(posterior(nats), labels)
    by_class = [right[labels == label] for label in range(nats.shape[1])]
    return Classification(
        accuracy=float(right.mean()),
        interval=list(share_interval(int(right.sum()), len(right))),
        **dict(zip(("log_score", "log_score_se"), map(float, mean_and_error(log_score(nats, labels))), strict=True)),
        calibration_error=calibration_error(bins),
        accuracy_by_class=[float(one.mean()) if len(one) else None for one in by_class],
        noise=noise_of(groups),
        rows=[one._asdict() for one in bins],
        estimator=estimator,
        nats=nats,
        labels=labels,
    )


def noise_of(nats: np.ndarray) -> float | None:
    """`Classification.noise`, from the differences between the G groups of nats [G, N, K]; None for one group."""
    if len(nats) == 1:
        return None
    best = np.argsort(nats.mean(axis=0), axis=1)[None, :, :2]
    difference = np.diff(np.take_along_axis(nats, best, axis=2), axis=2)
    return float(np.sqrt(np.mean(difference.var(axis=0, ddof=1)) / len(nats)))


def measure_bounds(run: Trained, bound: Bound, on_part: OnPart = lambda part: None) -> np.ndarray:
    """Nats [G, N, K] of the images of the split that `run` evaluates on, under each of the K labels.

    They are means over the passes of each of the G independent groups of the bound (`Bound.replicates`). Times and
    noise of an image are the same for all labels, so that they add less to the differences between labels.

    Raises RunError if a bound is not finite.

    Args:
      bound: the bound of `run`.
    """
    settings, groups = run.config.eval, bound.replicates or 1
    count, classes = len(split_images(run)), run.model.spec.num_classes
    nats, total = np.zeros((groups, count, classes)), num_batches(run) * bound.passes * classes
    with (
        eval_precision(settings),
        within_memory("a classification", f"lower eval.batch_size={settings.batch_size}"),
    ):
        for rows, number, label, values in in_flight(_started(run, bound)):
            terms = np.sum([np.asarray(values[name], np.float64) for name in bound.terms], axis=0)
            nats[number % groups, rows, label] += terms[: len(rows)] * groups / bound.passes
            on_part(1 / total)
    if not np.isfinite(nats).all():
        raise RunError(f"the bound of {int((~np.isfinite(nats)).any(axis=(0, 2)).sum())} images is not finite")
    return nats


def _started(run: Trained, bound: Bound) -> Iterator[tuple[np.ndarray, int, int, dict]]:
    """Rows, pass, label and values of each batch as its computation starts."""
    split, tables = run.dataset.examples(run.config.eval.split), bound.tables(run.params)
    size, classes = batch_size(run), run.model.spec.num_classes
    labels = [to_devices(run.mesh, np.full(size, label, np.int32)) for label in range(classes)]
    for part in eval_batches(split, size):
        batch, indices = to_devices(run.mesh, (part.batch, part.indices))
        for number, label in product(range(bound.passes), range(classes)):
            if label == 0:
                noise = bound.noise(tables, indices, number)
            values = bound.values(run.params, tables, batch._replace(labels=labels[label]), *noise)
            yield part.indices[: part.valid], number, label, values
