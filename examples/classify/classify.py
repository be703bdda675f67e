"""Classification of images by the bound of a model that is conditioned on labels: a study of one's own."""

import dataclasses
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import RunError, require
from diffenc_jax.core.keys import Keyed, count
from diffenc_jax.core.numbers import format_number, with_error
from diffenc_jax.evaluation.means import mean_and_error
from diffenc_jax.lab.studies.study import EVERY_STUDY, Array, Study

FOLDER = "classify-records"
BINS = 10  # of the confidence, of equal width


@dataclass(frozen=True)
class Arguments(Keyed):
    """Arguments of the study."""

    passes: int = count(16, "passes over the images per label")


@dataclass
class Classification:
    """Accuracy and calibration of a classification of N images in K classes.

    Attributes:
      accuracy, log_score: means over images of correct predictions and of -log p(label | x) in nats, with standard
        errors.
      calibration_error: expected calibration error.
      noise: standard error in nats, by the noise, of the difference between the two smallest bounds of an image; None
        for a single pass. Noise of about a nat or more makes uncertain classes look certain.
      nats: [N, K] the bound under each label.
      labels: [N] the images' own labels.
    """

    accuracy: list[float]
    log_score: list[float]
    calibration_error: float
    noise: float | None
    nats: Array
    labels: Array

    def tables(self):
        heads = ["images", "accuracy", "-log p(label given x), nats", "calibration error", "noise, nats"]
        numbers = map(format_number, (self.calibration_error, self.noise))
        row = [len(self.labels), with_error(*self.accuracy), with_error(*self.log_score), *numbers]
        return [Table(heads, [row], f"classification in {self.nats.shape[1]} classes")]

    def sentence(self):
        return f"accuracy {self.accuracy[0]:.4f} of {len(self.labels)} images in {self.nats.shape[1]} classes"


class Classify(Study):
    """Classify images by the bound of a trained run that is conditioned on labels.

    Evaluates the bound of every image of `eval.split` under every label, with the averaged (EMA) parameters of the
    newest checkpoint and common noise for all labels. p(label | x) is proportional to exp(-bound), with the mean bound
    over --passes passes and equally probable labels. The result has the accuracy, -log p(label | x), the expected
    calibration error, the noise in the differences between labels, which more passes lower, and for each image the
    bound under each label. The cost is --passes evaluations of the split per label. Their records are kept in
    RUN/classify-records. --config.key=value changes how the bound is evaluated, such as --config.loss.depth=50.
    """

    name = "classify"
    title = "Classification"
    example = "diffenc classify runs/digits-vdm-seed0-labels-True --passes=64"
    on_interrupt = "finished labels are kept; the same command continues from there"
    arguments = Arguments
    result = Classification
    reads = (*EVERY_STUDY, "eval.dtype", "eval.seed", "eval.time_sampling", "fit", "loss")

    def applies(self, config):
        return config.model.labels

    def changes(self, stored, given, arguments):
        return {"eval.passes": arguments.passes, "eval.estimator": "bound", "eval.num_draws": 1, **given}

    def check(self, run):
        advice = "which cannot classify; train one with --config.model.labels=True"
        require(run.config.model.labels, f"{run.workdir} is a run without labels, {advice}")
        images = f"the labels of {run.workdir} are images, which cannot be predicted"
        require(not run.model.spec.labels_are_arrays, images)

    def measure(self, run, arguments, watch):
        return summarize(measure_bounds(run, watch), run.dataset.split(run.config.eval.split).labels)


def measure_bounds(run, watch):
    """Nats [G, N, K] of the images of the split that `run` evaluates on, under each of the K labels.

    The values are means over the passes of each of the G independent groups of the bound (`Bound.replicates`). Times
    and noise of an image are the same for all labels, so that they contribute less to the differences between labels.
    The record of each label is kept in the workdir and read again. Raises RunError if a bound is not finite.
    """
    from diffenc_jax.evaluation.bound import Bound
    from diffenc_jax.evaluation.evaluator import Evaluator
    from diffenc_jax.lab.studies.sweep import evaluated

    own, nats, classes = Evaluator(run, Bound), [], run.model.spec.label_size
    tables = cache(lambda: own.estimator.tables(run.params))  # fitted under the images' own labels
    with watch(f"bound under {classes} labels", classes * own.num_batches()) as on_batch:
        for label in range(classes):
            split = dataclasses.replace(own.split, labels=np.full(len(own.split.data), label, np.int32))
            relabelled = run.changed(dataset=run.dataset.with_split(split))
            one = evaluated(Evaluator(relabelled, Bound, folder=FOLDER), run, on_batch, tables)
            total = one.bits * (run.model.spec.dims * math.log(2))
            nats.append(total.reshape(-1, one.replicates or 1, total.shape[1]).mean(axis=0))
    if not np.isfinite(nats).all():
        raise RunError("the bound of some images is not finite")
    return np.stack(nats, axis=-1)


def summarize(groups, labels):
    """The result for nats [G, N, K] of G groups of passes and the images' own labels [N]."""
    nats, labels = groups.mean(axis=0), np.asarray(labels)
    logs = scipy.special.log_softmax(-nats, axis=1)
    scores = (nats.argmin(axis=1) == labels).astype(float), -logs[np.arange(len(labels)), labels]
    accuracy, log_score = (list(map(float, mean_and_error(score))) for score in scores)
    error = calibration_error(np.exp(logs), labels)
    return Classification(accuracy, log_score, error, noise_of(groups), nats, labels)


def calibration_error(probabilities, labels):
    """Expected calibration error, Σ n |accuracy - confidence| / N over bins of the confidence (arXiv 1706.04599).

    It is positive by chance too, since the accuracies in bins of few images vary.

    Args:
      probabilities: p(class | x) [N, K].
      labels: [N].
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = np.maximum(np.ceil(confidence * BINS), 1)
    return float(sum(abs(np.sum((right - confidence)[number == i])) for i in np.unique(number)) / len(labels))


def noise_of(nats):
    """`Classification.noise`, from the differences between the G groups of nats [G, N, K]; None for one group."""
    if len(nats) == 1:
        return None
    best = np.argsort(nats.mean(axis=0), axis=1)[None, :, :2]
    difference = np.diff(np.take_along_axis(nats, best, axis=2), axis=2)
    return float(np.sqrt(np.mean(difference.var(axis=0, ddof=1)) / len(nats)))
