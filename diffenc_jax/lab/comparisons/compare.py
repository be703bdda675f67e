"""Comparison of evaluations of the same images: their differences, paired by image, and a table."""

import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.numbers import examples, format_interval, format_number, format_regret, with_error
from diffenc_jax.evaluation.means import quietly
from diffenc_jax.evaluation.uncertainty import StandardErrors, difference, standard_errors
from diffenc_jax.lab.comparisons import describe
from diffenc_jax.lab.stats.means import interval
from diffenc_jax.runs.record_types import DatasetEntry, Record
from diffenc_jax.runs.records import Evaluation
from diffenc_jax.runs.stored import StoredRun

# Two evaluations have the same noise if these keys of their estimators agree.
NOISE = ("kind", "seed", "passes", "replicates")
LEVEL = 0.95
SINGLE_RUNS = "single runs: whether other training seeds would differ as much is not known"

Key = TypeVar("Key", bound=Hashable)


class Excess(NamedTuple):
    """Bits/dim of an evaluation minus those of the reference.

    Attributes:
      value: mean over passes and images; None where it is not determined, as for two infinite evaluations.
      error: standard errors of `value`, paired by image.
      interval: simultaneous t interval from the total standard error; None for a single image.
      common_noise: whether the evaluation shares the noise of the reference.
    """

    value: float | None
    error: StandardErrors
    interval: tuple[float, float] | None
    common_noise: bool


class Row(NamedTuple):
    """One evaluation beside the reference, in bits/dim.

    Attributes:
      evaluation: the evaluation.
      bpd: mean over passes and images.
      error: standard errors of `bpd`.
      excess: difference to the reference; None for the reference itself.
    """

    evaluation: Evaluation
    bpd: float
    error: StandardErrors
    excess: Excess | None


@quietly
def compare(evaluations: Sequence[Evaluation]) -> list[Row]:
    """A row per evaluation, in increasing bits/dim with NaN last; the first evaluation given is the reference.

    The reference must not be chosen by its value, since the best of several equal models lies below the others by
    chance. The m intervals of the other rows are simultaneous. Each is a t interval of the level 1 - (1 - `LEVEL`)/m
    (Bonferroni), with one degree of freedom less than the number of images. If the differences are normal, all m
    intervals hold together with probability `LEVEL` or more, for any dependence between rows. For skewed differences
    the probability is lower: with exponential differences that are independent between rows, 9 intervals hold together
    in 81, 72, 90 and 94 % of the cases at 3, 10, 100 and 300 images.
    """
    reference, *others = evaluations
    level = 1 - (1 - LEVEL) / max(len(others), 1)
    rows = []
    for one in evaluations:
        errors = standard_errors(one.bits, one.replicates)
        excess = None if one is reference else _excess(one, reference, level)
        rows.append(Row(one, float(one.bits.mean()), errors, excess))
    return sorted(rows, key=lambda row: (math.isnan(row.bpd), row.bpd))


def _excess(evaluation: Evaluation, reference: Evaluation, level: float) -> Excess:
    ours, theirs = (one.record["estimator"] for one in (evaluation, reference))
    common = all(ours.get(key) == theirs.get(key) for key in NOISE)
    value, errors = difference(evaluation.bits, reference.bits, evaluation.replicates, reference.replicates, common)
    total, images = errors.total, evaluation.bits.shape[1]
    ends = None if total is None else interval(value, total, images - 1, level)
    return Excess(None if math.isnan(value) else value, errors, ends, common)


def common_evaluations(candidates: Mapping[Key, Sequence[Evaluation]]) -> dict[Key, Evaluation]:
    """One evaluation per run, all made in the way that most runs have; of equally common ways, that with most passes.

    Evaluations are made in the same way if they have the same split and estimator, and if their noise has equal seeds,
    or each has its run's training seed. Runs that are not evaluated in this way are left out.
    """
    by_way: dict[str, dict[Key, Evaluation]] = {}
    for key, evaluations in candidates.items():
        for evaluation in evaluations:
            for way in _ways(evaluation.record):
                by_way.setdefault(way, {}).setdefault(key, evaluation)
    return max(by_way.values(), key=lambda runs: (len(runs), len(next(iter(runs.values())).bits)), default={})


def _ways(record: Record) -> list[str]:
    seed, split = record["estimator"]["seed"], record["dataset"]["split"]
    seeds = [seed, "of the run"] if seed == record["seed"] else [seed]
    return [json.dumps([split, record["estimator"] | {"seed": name}], sort_keys=True) for name in seeds]


def check_comparable(evaluations: Sequence[Evaluation], across_estimators: bool = False) -> None:
    """Raise InputError unless all evaluations have the same images and, unless `across_estimators`, estimator."""
    for other in evaluations[1:]:
        first = evaluations[0]
        names = f"{first.path} and {other.path}"
        reason = different_images(first.record["dataset"], other.record["dataset"])
        require(not reason, f"{names} cannot be compared: {reason}")
        different = different_methods(first.record["estimator"], other.record["estimator"])
        text = f"{names} have different estimators: {', '.join(different)}"
        advice = "give --across-estimators to compare them nevertheless"
        require(across_estimators or not different, f"{text}; {advice}")


def different_images(a: DatasetEntry, b: DatasetEntry) -> str | None:
    """Reason why the images of two records cannot be paired; None if they can."""
    data = examples(a)
    if all(a[key] == b[key] for key in ("split", "num_examples", "sha256")):
        labels = a.get("labels_sha256"), b.get("labels_sha256")
        true = a.get("true_bpd"), b.get("true_bpd")
        for what, (one, other) in {"labels": labels, "true probabilities": true}.items():
            if None not in (one, other) and one != other:
                return f"they hold the same {data} with different {what}; evaluate both with the same"
        return None
    if a["sha256_any_order"] != b["sha256_any_order"]:
        return f"they have different {data}, {describe.images(a)} and {describe.images(b)}; evaluate both on the same"
    return f"they hold the same {data} in different orders or splits; evaluate both from the same source"


def different_methods(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """'depth=50 and 100' per key in which the methods of two estimators differ; only the kinds, if the kinds differ."""
    a, b = describe.method(a), describe.method(b)
    keys = ["kind"] if a["kind"] != b["kind"] else sorted(a | b)
    return [f"{key}={a.get(key)} and {b.get(key)}" for key in keys if a.get(key) != b.get(key)]


def comparison_table(rows: Sequence[Row], with_files: bool = False) -> Table:
    """`rows` as a table, with a last column for the paths of the records if `with_files`.

    A single row has no columns of differences. There is a column for the regret if it is known.
    """
    records = [row.evaluation.record for row in rows]
    errors = f"± noise ± {examples(records[0]['dataset'])}"
    columns: dict[str, list[Any]] = {head: [record[head] for record in records] for head in ("arm", "seed", "step")}
    columns["estimator"] = [describe.estimator(record["estimator"]) for record in records]
    columns[f"bits/dim {errors}"] = [with_error(row.bpd, row.error.noise, row.error.images) for row in rows]
    if any("regret" in record for record in records):
        columns[f"regret {errors}"] = [format_regret(record.get("regret")) for record in records]
    if len(rows) > 1:
        columns[f"difference {errors}"] = [_difference(row.excess) for row in rows]
        ends = [format_interval(row.excess.interval) if row.excess else "" for row in rows]
        columns[f"{'simultaneous ' * (len(rows) > 2)}95 % interval"] = ends
    if with_files:
        columns["file"] = [str(row.evaluation.path) for row in rows]
    caption = "Differences to the reference, bits/dim" if len(rows) > 1 else ""
    return Table([*columns], list(zip(*columns.values(), strict=True)), caption, "bits/dim")


def _difference(excess: Excess | None) -> str:
    """'0.0212 ± 0.0031 ± 0.0123', with the errors of noise and images; 'reference' for None."""
    return with_error(excess.value, excess.error.noise, excess.error.images) if excess else "reference"


def notes(rows: Sequence[Row]) -> list[str]:
    """Notes that are needed to read the table, one line each."""
    reference = next(row for row in rows if row.excess is None).evaluation.record
    records, estimator = [row.evaluation.record for row in rows], reference["estimator"]
    data = examples(reference["dataset"])
    lines = [
        f"{data}: {describe.images(reference['dataset'])}; parameters: averaged (EMA)",
        f"± standard errors, of the noise and of the {data} (left out where the data do not determine them or "
        "where the noise hides them)",
    ]
    if (true := reference["dataset"].get("true_bpd")) is not None:
        truth = f"the truth, which has {format_number(true)} on these {data}"
        lines.append(f"regret: bits/dim above {truth}, by {data[:-1]}")
    if len(rows) == 1:
        return lines
    different = ", ".join(str(row.evaluation.path) for row in rows if row.excess and not row.excess.common_noise)
    common = f"common to all (seed {estimator['seed']}, {estimator['passes']} passes)"
    lines.append(f"noise: different from the reference's in {different}" if different else f"noise: {common}")
    several = f"; all {len(rows) - 1} hold together with probability 95 % (Bonferroni)" * (len(rows) > 2)
    lines.append(f"differences: paired by {data[:-1]}, with 95 % intervals over noise and {data}{several}")
    lines.append(SINGLE_RUNS)
    if any(different_methods(estimator, record["estimator"]) for record in records):
        lines.append(
            "estimators differ: their values are bounds of different tightness, or belong to different models, "
            "so a difference may not come from training"
        )
    if len({record["step"] for record in records}) > 1:
        lines.append("steps differ: a difference may come from the length of training")
    augmentations = sorted({record.get("augmentation", "none") for record in records})
    if len(augmentations) > 1:
        lines.append(f"the augmentation of the training {data} differs: {'; '.join(augmentations)}")
    return lines


def cautions(evaluations: Iterable[Evaluation]) -> list[str]:
    """The cautions of `describe`; those that need a run's configuration only if the record lies in its workdir."""
    averages, values = [], []
    for path, record, *_ in evaluations:
        levels = None
        with suppress(InputError):  # the record lies elsewhere
            config = StoredRun(path.parent.parent).config
            if config.hash == record["config_hash"]:
                levels = config.data.pixel_levels
                averages.append((str(path), config.train, record["step"]))
        values.append((str(path), record, levels))
    return describe.value_cautions(values) + describe.average_cautions(averages)


def comparison_json(rows: Sequence[Row], said: Sequence[str]) -> dict[str, Any]:
    """The table, unrounded, and the lines below it as JSON values."""
    entries = []
    for row in rows:
        about = {key: row.evaluation.record.get(key) for key in ("arm", "seed", "step", "estimator", "regret")}
        excess = row.excess and row.excess._asdict() | {"error": row.excess.error._asdict()}
        numbers = {"bpd": row.bpd, "error": row.error._asdict(), "excess": excess}
        entries.append({"file": str(row.evaluation.path), **about, **numbers})
    return {"dataset": rows[0].evaluation.record["dataset"], "rows": entries, "notes": [*said]}
