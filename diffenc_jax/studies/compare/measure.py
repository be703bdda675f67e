"""Differences between evaluations of the same images, paired by image."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from diffenc_jax.core.errors import InputError
from diffenc_jax.runs.records import Evaluation
from diffenc_jax.stats.uncertainty import StandardErrors, difference, interval, standard_errors
from diffenc_jax.studies.compare.describe import describe_images, method

# Two evaluations have the same noise if these keys of their estimators agree.
NOISE = ("kind", "seed", "passes", "replicates")


class Row(NamedTuple):
    """One evaluation beside the best one, in bits/dim. The fields from `excess` on are None for the best itself.

    Attributes:
      evaluation: the evaluation.
      bpd: mean over passes and images.
      error: standard errors of `bpd`.
      excess: `bpd` minus that of the best.
      excess_error: standard errors of `excess`, paired by image.
      excess_interval: 95 % interval from the total standard error; None for a single image.
      common_noise: whether the evaluation shares the noise of the best.
    """

    evaluation: Evaluation
    bpd: float
    error: StandardErrors
    excess: float | None = None
    excess_error: StandardErrors | None = None
    excess_interval: tuple[float, float] | None = None
    common_noise: bool | None = None


def compare(evaluations: Sequence[Evaluation]) -> list[Row]:
    """A row per evaluation, in increasing bits/dim; NaN comes last."""
    means = [(float(evaluation.bits.mean()), evaluation) for evaluation in evaluations]
    means.sort(key=lambda pair: (math.isnan(pair[0]), pair[0]))
    best = means[0][1]
    return [_row(evaluation, mean, None if evaluation is best else best) for mean, evaluation in means]


def _row(evaluation: Evaluation, bpd: float, best: Evaluation | None) -> Row:
    error = standard_errors(evaluation.bits, evaluation.replicates)
    if best is None:
        return Row(evaluation, bpd, error)
    ours, theirs = evaluation.record["estimator"], best.record["estimator"]
    common = all(ours[key] == theirs[key] for key in NOISE)
    excess, excess_error = difference(evaluation.bits, best.bits, evaluation.replicates, best.replicates, common)
    ends = None if excess_error.total is None else interval(excess, excess_error.total)
    return Row(evaluation, bpd, error, excess, excess_error, ends, common)


def check_comparable(evaluations: Sequence[Evaluation], across_estimators: bool) -> None:
    """Raise InputError unless all evaluations have the same images, and the same estimator or `across_estimators`."""
    first = evaluations[0]
    for other in evaluations[1:]:
        names = f"{first.path} and {other.path}"
        if reason := different_images(first.record["dataset"], other.record["dataset"]):
            raise InputError(f"{names} cannot be compared: {reason}")
        different = different_methods(first.record["estimator"], other.record["estimator"])
        if different and not across_estimators:
            raise InputError(
                f"{names} have different estimators: {', '.join(different)}; "
                "give --across-estimators to compare them nevertheless"
            )


def different_images(a: dict[str, Any], b: dict[str, Any]) -> str | None:
    """Reason why the images of two records cannot be paired; None if they can."""
    if all(a[key] == b[key] for key in ("split", "num_examples", "sha256")):
        return None
    if a["sha256_any_order"] != b["sha256_any_order"]:
        return f"they have different images, {describe_images(a)} and {describe_images(b)}; evaluate both on the same"
    if a["split"] != b["split"]:
        return f"they name their split {a['split']!r} and {b['split']!r}; evaluate both under one name"
    return "they hold the same images in different orders; evaluate both from the same source"


def different_methods(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """'depth=50 and 100' per key in which the methods of two estimators differ; only their kinds if those differ."""
    a, b = method(a), method(b)
    keys = ["kind"] if a["kind"] != b["kind"] else sorted(a | b)
    return [f"{key}={a.get(key)} and {b.get(key)}" for key in keys if a.get(key) != b.get(key)]
