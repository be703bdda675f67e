"""The table of a comparison, and the notes that explain it."""

from collections.abc import Sequence
from typing import Any

from diffenc_jax.core.document import Table
from diffenc_jax.core.numbers import format_interval, with_errors
from diffenc_jax.lab.studies.compare.describe import describe_augmentation, describe_estimator, describe_images
from diffenc_jax.lab.studies.compare.measure import NOISE, Row, different_methods
from diffenc_jax.lab.studies.plain import plain
from diffenc_jax.runs.records import Evaluation

HEADS = ("arm", "seed", "step", "estimator", "bits/dim ± noise ± images")
DIFFERENCE = "difference ± noise ± images"
REFERENCE = "reference"
SINGLE_RUNS = "single runs: whether other training seeds would differ as much is not known"


def comparison_table(rows: Sequence[Row], with_files: bool = False) -> Table:
    """`rows` as a table, with a last column for the paths of the records if `with_files`.

    A single row has no columns of differences.
    """
    interval = f"{'simultaneous ' * (len(rows) > 2)}95 % interval"
    compared, lines = len(rows) > 1, []
    for row in rows:
        record = row.evaluation.record
        about = [record["arm"], record["seed"], record["step"], describe_estimator(record["estimator"])]
        bpd, excess = with_errors(row.bpd, row.error.noise, row.error.images), [REFERENCE, ""]
        if row.excess is not None:
            value, error, ends, _ = row.excess
            excess = [with_errors(value, error.noise, error.images), format_interval(ends)]
        file = [row.evaluation.path] if with_files else []
        lines.append([*about, bpd, *(excess if compared else []), *file])
    heads = [*HEADS, *([DIFFERENCE, interval] if compared else []), *(["file"] if with_files else [])]
    return Table(heads, lines, "Differences to the reference, bits/dim" if compared else "")


def notes(rows: Sequence[Row]) -> list[str]:
    """One line per fact that is needed to read the table."""
    evaluations = [row.evaluation for row in rows]
    reference = next(row.evaluation for row in rows if row.excess is None)
    others = [(row.evaluation, row.excess) for row in rows if row.excess is not None]
    lines = [f"images: {describe_images(reference.record['dataset'])}"]
    if others:
        different = [str(evaluation.path) for evaluation, excess in others if not excess.common_noise]
        seed, passes, replicates = (reference.record["estimator"][key] for key in NOISE[1:])
        common = f"noise: common to all (seed {seed}, {passes} passes, {replicates or 'no'} replicates)"
        lines.append(f"noise: different from the reference's in {', '.join(different)}" if different else common)
    lines.append(
        "± standard errors, of the noise and of the images (left out where the data do not determine them or "
        "where the noise hides them)"
    )
    if others:
        lines.append("difference to the reference: paired by image, with its 95 % interval over noise and images")
    if len({(e.record["arm"], e.record["seed"]) for e in evaluations}) > 1:
        lines.append(SINGLE_RUNS)
    if len(others) > 1:
        lines.append(f"intervals: simultaneous, all {len(others)} hold together with probability 95 % (Bonferroni)")
    if any(different_methods(reference.record["estimator"], other.record["estimator"]) for other in evaluations):
        lines.append(
            "estimators differ: their values are bounds of different tightness, or bounds of different models, "
            "so a difference may not come from training"
        )
    if not _of_one_step(evaluations):
        lines.append("steps differ: a difference may come from the length of training")
    return [*lines, *_augmentations(evaluations), *_environments(evaluations)]


def conclusions(rows: Sequence[Row]) -> list[str]:
    """A sentence per difference to the reference; evaluations are named by their paths, and by steps that differ."""
    with_step = not _of_one_step([row.evaluation for row in rows])

    def name(row: Row) -> str:
        step = f" at step {row.evaluation.record['step']:,}" if with_step else ""
        return f"{row.evaluation.path}{step}"

    reference = name(next(row for row in rows if row.excess is None))
    sentences = []
    for row in rows:
        if row.excess is None or row.excess.interval is None:
            continue
        value, (low, high) = row.excess.value, row.excess.interval
        shown = "the images tell the two apart" if not low <= 0 <= high else "the images do not tell the two apart"
        sentences.append(
            f"{name(row)} lies {abs(value):.4f} bits/dim {'below' if value < 0 else 'above'} "
            f"{reference} ({format_interval((low, high))}, 95 % over noise and images): {shown}."
        )
    return sentences


def _of_one_step(evaluations: Sequence[Evaluation]) -> bool:
    return len({evaluation.record["step"] for evaluation in evaluations}) == 1


def _paths_by(values: Sequence[str], evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """'(a.json, b.json)' by value, one per evaluation."""
    paths: dict[str, list[str]] = {}
    for value, evaluation in zip(values, evaluations, strict=True):
        paths.setdefault(value, []).append(str(evaluation.path))
    return {value: f"({', '.join(those)})" for value, those in paths.items()}


def _augmentations(evaluations: Sequence[Evaluation]) -> list[str]:
    """A line about the augmentation of the training images, if any run has one."""
    paths_by = _paths_by([describe_augmentation(evaluation.record) for evaluation in evaluations], evaluations)
    if len(paths_by) == 1:
        return [f"augmentation of the training images: {kind}" for kind in paths_by if kind != "none"]
    values = "; ".join(f"{kind} {paths}" for kind, paths in sorted(paths_by.items()))
    return [f"augmentation of the training images differs: {values}"]


def _environments(evaluations: Sequence[Evaluation]) -> list[str]:
    """'jax differs: 0.10.2 (a.json), 0.11.0 (b.json)' per package, part or device that is not the same for all."""
    records = [e.record["software"] | e.record["parts"] | {"device": e.record["device"]} for e in evaluations]
    lines = []
    for name in sorted(set().union(*records)):
        values = _paths_by([str(record.get(name, "none")) for record in records], evaluations)
        if len(values) > 1:
            lines.append(f"{name} differs: {', '.join(f'{value} {paths}' for value, paths in values.items())}")
    return lines


def comparison_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The table, unrounded, and its notes as JSON values."""
    entries = []
    for row in rows:
        record = row.evaluation.record
        about = {key: record[key] for key in ("arm", "seed", "step", "estimator")}
        numbers = {"bpd": row.bpd, "error": row.error, "excess": row.excess}
        entries.append({"file": str(row.evaluation.path), **about, **plain(numbers)})
    return {"dataset": rows[0].evaluation.record["dataset"], "rows": entries, "notes": notes(rows)}
