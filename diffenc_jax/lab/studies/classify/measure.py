"""The bound of every image under every label, under common noise."""

import dataclasses
import math
from functools import cache
from typing import Any

import numpy as np

from diffenc_jax.core.errors import RunError
from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.evaluation.means import mean_and_error, share_interval
from diffenc_jax.lab.stats.calibration import calibration_error, log_score, posterior, reliability
from diffenc_jax.lab.studies.classify.study import Classification
from diffenc_jax.lab.studies.study import UNWATCHED, Watch
from diffenc_jax.lab.studies.sweep import evaluated
from diffenc_jax.runs.trained import Trained

FOLDER = "classify-records"


def measure_bounds(run: Trained, watch: Watch = UNWATCHED) -> np.ndarray:
    """Nats [G, N, K] of the images of the split that `run` evaluates on, under each of the K labels.

    They are means over the passes of each of the G independent groups of the bound (`Bound.replicates`). Times and
    noise of an image are the same for all labels, so that they add less to the differences between labels. The record
    of each label is kept in the workdir and read again. Raises RunError if a bound is not finite.
    """
    dataset, split, classes = run.dataset, run.config.eval.split, run.model.spec.label_size
    own, evaluators, nats = Evaluator(run, Bound), [], []
    for label in range(classes):
        labels = {**dataset.labels, split: np.full(len(dataset.splits[split]), label, np.int32)}
        relabelled = dataclasses.replace(run, dataset=dataclasses.replace(dataset, labels=labels))
        evaluators.append(Evaluator(relabelled, Bound, folder=FOLDER))
    tables = cache(lambda: own.estimator.tables(run.params))  # fitted under the images' own labels
    with watch(f"bound under {classes} labels", classes * own.num_batches()) as on_batch:
        for evaluator in evaluators:
            one = evaluated(evaluator, run, on_batch, tables)
            total = one.bits * (run.model.spec.dims * math.log(2))
            nats.append(total.reshape(-1, one.replicates or 1, total.shape[1]).mean(axis=0))
    if not np.isfinite(nats).all():
        raise RunError("the bound of some images is not finite")
    return np.stack(nats, axis=-1)


def summarize(groups: np.ndarray, labels: Any) -> Classification:
    """The result for nats [G, N, K] of G groups of passes and the images' own labels [N]."""
    nats, labels = groups.mean(axis=0), np.asarray(labels)
    right, rows = nats.argmin(axis=1) == labels, reliability(posterior(nats), labels)
    score, error = mean_and_error(log_score(nats, labels))
    return Classification(
        accuracy=float(right.mean()),
        interval=list(share_interval(int(right.sum()), len(right))),
        log_score=float(score),
        log_score_se=float(error),
        calibration_error=calibration_error(rows),
        noise=noise_of(groups),
        rows=rows,
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
