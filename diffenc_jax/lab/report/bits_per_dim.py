"""Bits/dim by term with standard errors, differences between the runs, and bits/dim of trivial models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffenc_jax.core.document import Items, Section, Table, Text
from diffenc_jax.lab.report.collect import Collection, Evaluations, Record, Run, bits_and_errors
from diffenc_jax.lab.report.command_lines import not_made_yet, run_line
from diffenc_jax.lab.report.html import Fold
from diffenc_jax.lab.studies.compare.describe import describe_augmentation, describe_estimator
from diffenc_jax.lab.studies.compare.measure import Row, compare
from diffenc_jax.lab.studies.compare.table import comparison_table, notes
from diffenc_jax.lab.studies.trivial import TrivialModels

ERRORS = (
    "± are standard errors, first of the noise, against infinitely many passes over the same images, then of the "
    "images, of a noise-free mean over as many other images (left out where the data do not determine them)."
)


def bits_section(
    collection: Collection, evaluations: Evaluations, differences: Sequence[Row], trivial: TrivialModels
) -> Section:
    """`evaluations` by term, their `differences` image by image, other records, and trivial models."""
    shown = {evaluation.path for evaluation in evaluations.values()}
    records = [(run, record) for run in collection.runs for record in run.records]
    blocks: list[Any] = []
    if main := [(run, record) for run, record in records if record.path in shown]:
        table = _by_term(main, "Bits/dim ± noise ± images")
        blocks += [Text(f"Averaged (EMA) parameters at the last evaluated step. {ERRORS}"), table]
    missing = [run for run in collection.runs if not run.records]
    blocks += not_made_yet("evaluation", missing, (run_line("eval", run) for run in missing))
    blocks += _differences(differences)
    if others := [(run, record) for run, record in records if record.path not in shown]:
        table = _by_term(others, "Other records, bits/dim ± noise ± images")
        blocks.append(Fold(f"Earlier steps and other evaluations: {len(others)} records", [table]))
    return Section("Bits/dim", [*blocks, _trivial_models(trivial)])


def _by_term(records: Sequence[tuple[Run, Record]], caption: str) -> Table:
    terms = list(dict.fromkeys(name for _, r in records for name in r.record["bpd"] if name != "total"))
    rows = []
    for run, (_, record, _) in records:
        estimator = f"{record['dataset']['split']}, {describe_estimator(record['estimator'])}"
        bits = (bits_and_errors(record, name) for name in ("total", *terms))
        rows.append([run.title, *bits, f"{record['step']:,}", estimator])
    return Table(["run", "total", *terms, "step", "split, estimator"], rows, caption)


def compare_runs(collection: Collection, evaluations: Evaluations, reference: str) -> list[Row]:
    """The rows of `diffenc compare`, with names of runs instead of paths; empty for a single run.

    The reference is the first run of the arm `reference`. Where arms have several seeds, the runs of its seed are
    compared. Runs with another augmentation of their training images than the reference are left out, unless the study
    of the root compares across it.
    """
    found = [evaluation._replace(path=Path(collection.names[w])) for w, evaluation in evaluations.items()]
    found.sort(key=lambda evaluation: evaluation.record["arm"] != reference)
    if len({evaluation.record["arm"] for evaluation in found}) > 1:
        found = [evaluation for evaluation in found if evaluation.record["seed"] == found[0].record["seed"]]
    if not (collection.grid and collection.grid.across_augmentation):
        found = [e for e in found if describe_augmentation(e.record) == describe_augmentation(found[0].record)]
    return compare(found) if len(found) > 1 else []


def _differences(rows: Sequence[Row]) -> list[Section]:
    if not rows:
        return []
    text = Text("Differences to the reference, paired by image, as diffenc compare prints them; one seed per arm.")
    return [Section("Differences, image by image", [text, comparison_table(rows), Items(notes(rows))])]


def _trivial_models(trivial: TrivialModels) -> Section:
    rows = [[name, f"{bpd:.4f}"] for name, bpd in trivial.bpd.items()]
    texts = [Text(f"No per-pixel histogram: {trivial.missing}")] if trivial.missing else []
    return Section("Trivial models", [Table(["model", "bits/dim"], rows, "Without a network"), *texts])
