"""Classification of images by the bound of a model that is conditioned on labels."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import RunError, require
from diffenc_jax.core.keys import Keyed, count
from diffenc_jax.core.numbers import format_interval, format_number, with_error
from diffenc_jax.lab.figures.charts import Board, Chart, Curve, Panel
from diffenc_jax.lab.studies.study import EVERY_STUDY, UNWATCHED, Array, Config, Measured, Rows, Study, Trained, Watch

if TYPE_CHECKING:
    import numpy as np

FOLDER = "classify-records"


@dataclass(frozen=True)
class Arguments(Keyed):
    """Arguments of the study."""

    passes: int = count(16, "passes over the images per label")


@dataclass
class Classification:
    """Accuracy and calibration of a classification of N images in K classes.

    Attributes:
      accuracy: with its 95 % `interval` (`means.share_interval`).
      log_score: -log p(label | x) in nats, with its `log_score_se` over images.
      calibration_error: expected calibration error.
      noise: standard error in nats, by the noise, of the difference between the two smallest bounds of an image; None
        for a single pass. Noise of the order of a nat or more makes classes look certain that are not.
      rows: a row per bin of the confidence, see `stats.calibration.reliability`.
      nats: [N, K] the bound under each label.
      labels: [N] the images' own labels.
    """

    accuracy: float
    interval: list[float]
    log_score: float
    log_score_se: float
    calibration_error: float
    noise: float | None
    rows: Rows
    nats: Array
    labels: Array

    def tables(self) -> list[Table]:
        """The numbers in one row."""
        heads = ["images", "accuracy (95 % interval)", "-log p(label | x), nats", "calibration error", "noise, nats"]
        accuracy = f"{self.accuracy:.4f} ({format_interval(self.interval)})"
        score, numbers = with_error(self.log_score, self.log_score_se), (self.calibration_error, self.noise)
        row = [len(self.labels), accuracy, score, *map(format_number, numbers)]
        return [Table(heads, [row], f"classification in {self.nats.shape[1]} classes")]

    def sentence(self) -> str:
        """'accuracy 0.9411 of 297 images in 10 classes'."""
        images, classes = self.nats.shape
        return f"accuracy {self.accuracy:.4f} of {images} images in {classes} classes"


class Classify(Study[Arguments, Classification]):
    """Classify images by the bound of a trained run that is conditioned on labels.

    Evaluates the bound of every image of `eval.split` under every label, with the averaged (EMA) parameters of the
    newest checkpoint and common noise for all labels. p(label | x) is proportional to exp(-bound), the mean over
    --passes passes, with equally probable labels. The result has accuracy, -log p(label | x) and expected calibration
    error, how much of the differences between labels is noise, which more passes lower, and per image the bound under
    each label; the figure is the reliability diagram. The cost is --passes evaluations of the split per label, whose
    records are kept in RUN/classify-records. --config.key=value changes how the bound is evaluated, such as
    --config.loss.depth=50.
    """

    name = "classify"
    title = "Classification"
    example = """\
diffenc train --config=digits:vdm --config.model.labels=True
diffenc classify runs/digits-vdm-seed0-labels-True --passes=64"""
    on_interrupt = "finished labels are kept; the same command continues from there"
    arguments = Arguments
    result = Classification
    reads = (*EVERY_STUDY, "eval.dtype", "eval.seed", "eval.time_sampling", "fit", "loss")

    def applies(self, config: Config) -> bool:
        return config.model.labels

    def needs_training_images(self, config: Config) -> bool:
        from diffenc_jax.evaluation.bound import Bound

        return Bound.needs_training_images(config)

    def changes(self, stored: Config, given: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
        return {"eval.passes": arguments.passes, "eval.estimator": "bound", "eval.num_draws": 1, **given}

    def check(self, run: Trained) -> None:
        advice = "which cannot classify; train one with --config.model.labels=True"
        require(run.config.model.labels, f"{run.workdir} is a run without labels, {advice}")
        images = f"the labels of {run.workdir} are images, which cannot be predicted"
        require(not run.model.spec.labels_are_images, images)

    def measure(self, run: Trained, arguments: Arguments, watch: Watch) -> Classification:
        return summarize(measure_bounds(run, watch), run.dataset.labels[run.config.eval.split])

    def figures(self, shown: Sequence[Measured[Classification]]) -> dict[str, Chart | Board]:
        (measured,) = shown
        names = ("confidence", "accuracy", "accuracy_low", "accuracy_high")
        x, y, low, high = ([row[name] for row in measured.result.rows] for name in names)
        label = "confidence: probability of the predicted class"
        curves = [Curve(label, x, y, low, high), Curve("calibrated", [0, 1], [0, 1])]
        caption = "accuracy by confidence, and its 95 % intervals"
        return {"": Chart(caption, "confidence", [Panel("accuracy", curves)], bars=True)}


def measure_bounds(run: Trained, watch: Watch = UNWATCHED) -> "np.ndarray":
    """Nats [G, N, K] of the images of the split that `run` evaluates on, under each of the K labels.

    They are means over the passes of each of the G independent groups of the bound (`Bound.replicates`). Times and
    noise of an image are the same for all labels, so that they add less to the differences between labels. The record
    of each label is kept in the workdir and read again. Raises RunError if a bound is not finite.
    """
    import numpy as np

    from diffenc_jax.evaluation.bound import Bound
    from diffenc_jax.evaluation.evaluator import Evaluator
    from diffenc_jax.lab.studies.sweep import evaluated

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


def summarize(groups: "np.ndarray", labels: Any) -> Classification:
    """The result for nats [G, N, K] of G groups of passes and the images' own labels [N]."""
    import numpy as np

    from diffenc_jax.evaluation.means import mean_and_error, share_interval
    from diffenc_jax.lab.stats.calibration import calibration_error, log_score, posterior, reliability

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


def noise_of(nats: "np.ndarray") -> float | None:
    """`Classification.noise`, from the differences between the G groups of nats [G, N, K]; None for one group."""
    import numpy as np

    if len(nats) == 1:
        return None
    best = np.argsort(nats.mean(axis=0), axis=1)[None, :, :2]
    difference = np.diff(np.take_along_axis(nats, best, axis=2), axis=2)
    return float(np.sqrt(np.mean(difference.var(axis=0, ddof=1)) / len(nats)))
