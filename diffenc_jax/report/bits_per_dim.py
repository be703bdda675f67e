"""Bits/dim by term with standard errors, differences between the runs, and bits/dim of trivial models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffenc_jax.core.errors import InputError, require
from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd
from diffenc_jax.data.dataset import TRAIN, load_dataset
from diffenc_jax.data.sources import named_source
from diffenc_jax.display.document import Items, Section, Table, Text
from diffenc_jax.report.collect import Collection, Evaluations, Record, Run, bits_and_errors
from diffenc_jax.report.command_lines import not_made_yet, run_line
from diffenc_jax.report.html import Fold
from diffenc_jax.studies.compare.describe import describe_augmentation, describe_estimator
from diffenc_jax.studies.compare.measure import Row, compare
from diffenc_jax.studies.compare.table import comparison_table, notes

ERRORS = (
    "± are standard errors, first of the noise, against infinitely many passes over the same images, then of the "
    "images, of a noise-free mean over as many other images (– where the data do not determine them)."
)


def bits_section(collection: Collection, evaluations: Evaluations, reference: str) -> Section:
    """`evaluations` by term, their differences to those of the arm `reference`, other records, and trivial models."""
    shown = {evaluation.path for evaluation in evaluations.values()}
    records = [(run, record) for run in collection.runs for record in run.records]
    blocks: list[Any] = []
    if main := [(run, record) for run, record in records if record.path in shown]:
        table = _by_term(main, "Bits/dim ± noise ± images")
        blocks += [Text(f"Averaged (EMA) parameters at the last evaluated step. {ERRORS}"), table]
    missing = [run for run in collection.runs if not run.records]
    blocks += not_made_yet("evaluation", missing, (run_line("eval", run) for run in missing))
    blocks += _differences(compare_runs(collection, evaluations, reference))
    if others := [(run, record) for run, record in records if record.path not in shown]:
        table = _by_term(others, "Other records, bits/dim ± noise ± images")
        blocks.append(Fold(f"Earlier steps and other evaluations: {len(others)} records", [table]))
    return Section("Bits/dim", [*blocks, _trivial_models(collection.runs[0])])


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


def _trivial_models(run: Run) -> Section:
    """Bits/dim of uniform levels, and of each pixel's histogram if the images are available."""
    levels = run.config.data.pixel_levels
    rows, texts = [[f"uniform, log2 {levels}", f"{uniform_bpd(levels):.4f}"]], []
    try:
        rows.insert(0, ["per-pixel histogram of training", f"{_histogram(run):.4f}"])
    except InputError as error:
        texts = [Text(f"No per-pixel histogram: {error}")]
    return Section("Trivial models", [Table(["model", "bits/dim"], rows, "Without a network"), *texts])


def _histogram(run: Run) -> float:
    """Bits/dim of the per-pixel histogram; raises InputError unless the evaluated images are available."""
    data, split = run.config.data, run.config.eval.split
    named = named_source(data.source)
    if named is not None and named.tfds:
        raise InputError(f"{data.source} is not loaded for a page; training prints the histogram's bits/dim at its end")
    dataset = load_dataset(data, *dict.fromkeys((TRAIN, split)))
    for record in run.newest:
        evaluated = record.record["dataset"]
        require(
            evaluated["split"] != split or evaluated["sha256"] == dataset.sha256(split),
            f"the images of {data.source} are not those that were evaluated",
        )
    return histogram_bpd(dataset.splits[TRAIN], dataset.splits[split], dataset.pixel_levels)
