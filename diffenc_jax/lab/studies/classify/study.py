"""Classification by the bound under each label: its study, and its result."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import require
from diffenc_jax.core.numbers import format_interval
from diffenc_jax.lab.studies.charts import Board, Chart, Curve, Panel
from diffenc_jax.lab.studies.study import EVERY_STUDY, Array, Measured, Rows, Study, Watch, option

if TYPE_CHECKING:
    from diffenc_jax.config import Config
    from diffenc_jax.runs.trained import Trained


@dataclass(frozen=True)
class Arguments:
    """Arguments of the study."""

    passes: int = option(16, "passes over the images per label", "P")


@dataclass
class Classification:
    """Accuracy and calibration of a classification of N images in K classes.

    Attributes:
      accuracy: with its 95 % `interval` (`means.share_interval`).
      log_score: -log p(label | x) in nats, with its `log_score_se` over images.
      calibration_error: expected calibration error.
      accuracy_by_class: None for a class without images.
      noise: standard error in nats, by the noise, of the difference between the two smallest bounds of an image; None
        for a single pass. Noise of the order of a nat or more makes classes look certain that are not.
      rows: a row per bin of the confidence, see `stats.calibration.Bin`.
      estimator: settings of the bound.
      nats: [N, K] the bound under each label.
      labels: [N] the images' own labels.
    """

    accuracy: float
    interval: list[float]
    log_score: float
    log_score_se: float
    calibration_error: float
    accuracy_by_class: list[float | None]
    noise: float | None
    rows: Rows
    estimator: dict[str, Any]
    nats: Array
    labels: Array

    def tables(self) -> list[Table]:
        """The bins that hold images."""
        lines = []
        for row in self.rows:
            if row["images"]:
                ends = f"{row['low']:.1f} .. {row['high']:.1f}"
                interval = f"{row['accuracy_low']:.3f} .. {row['accuracy_high']:.3f}"
                lines.append([ends, row["images"], f"{row['confidence']:.3f}", f"{row['accuracy']:.3f}", interval])
        heads = ["confidence in", "images", "mean confidence", "accuracy", "95 % interval"]
        return [Table(heads, lines, "accuracy by confidence")]

    def sentence(self) -> str:
        images, classes = self.nats.shape
        noise = "" if self.noise is None else f"; noise of the difference between two labels {self.noise:.3f} nats"
        return (
            f"accuracy {self.accuracy:.4f} (95 % interval {format_interval(self.interval)}) of {images} images in "
            f"{classes} classes; -log p(label | x) {self.log_score:.4f} ± {self.log_score_se:.4f} nats "
            f"(chance {math.log(classes):.4f}); expected calibration error {self.calibration_error:.4f}{noise}"
        )


class Classify(Study[Arguments, Classification]):
    """Classify images by the bound of a trained run that is conditioned on labels.

    Evaluates the bound of every image of `eval.split` under every label, with the averaged (EMA) parameters of the
    newest checkpoint and common noise for all labels. p(label | x) is proportional to exp(-bound), the mean over
    --passes passes, with equally probable labels. The result has accuracy, -log p(label | x) and expected calibration
    error, how much of the differences between labels is noise, which more passes lower, and per image the bound under
    each label; the figure is the reliability diagram. The cost is --passes evaluations of the split per label.
    --config.key=value changes how the bound is evaluated, such as --config.loss.depth=50.
    """

    name = "classify"
    title = "Classification"
    example = """\
diffenc train --config=digits:vdm --config.model.labels=True
diffenc classify runs/digits-vdm-seed0-labels-True --passes=64"""
    arguments = Arguments
    result = Classification
    reads = (*EVERY_STUDY, "eval.dtype", "eval.seed", "eval.time_sampling", "fit", "loss")

    def applies(self, config: "Config") -> bool:
        return config.model.labels

    def needs_training_images(self, config: "Config") -> bool:
        from diffenc_jax.evaluation.bound import Bound

        return Bound.needs_training_images(config)

    def changes(self, stored: "Config", given: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
        return {"eval.passes": arguments.passes, "eval.estimator": "bound", "eval.num_draws": 1, **given}

    def check(self, run: "Trained") -> None:
        advice = "which cannot classify; train one with --config.model.labels=True"
        require(run.config.model.labels, f"{run.workdir} is a run without labels, {advice}")

    def measure(self, run: "Trained", arguments: Arguments, watch: Watch) -> Classification:
        from diffenc_jax.lab.studies.classify.measure import classify

        return classify(run, watch)

    def figures(self, shown: Sequence[Measured[Classification]]) -> dict[str, Chart | Board]:
        (measured,) = shown
        rows = [row for row in measured.result.rows if row["images"]]
        x, y, low, high = (
            [row[key] for row in rows] for key in ("confidence", "accuracy", "accuracy_low", "accuracy_high")
        )
        curves = [
            Curve("confidence: probability of the predicted class", x, y, low, high),
            Curve("calibrated", [0, 1], [0, 1]),
        ]
        caption = "accuracy by confidence, and its 95 % intervals"
        return {"": Chart(caption, "confidence", [Panel("accuracy", curves)], bars=True)}
