"""Bits/dim by term with standard errors, differences between the runs, and bits/dim of trivial models."""

from collections.abc import Sequence
from typing import Any

from diffenc_jax.core.document import Items, Section, Table, Text
from diffenc_jax.core.numbers import UNKNOWN, with_errors
from diffenc_jax.lab.report.collect import Collection, Record, Run
from diffenc_jax.lab.report.command_lines import not_made_yet, run_line
from diffenc_jax.lab.report.html import Fold
from diffenc_jax.lab.report.results import Results
from diffenc_jax.lab.studies.compare.describe import describe_estimator
from diffenc_jax.lab.studies.compare.table import comparison_table, notes

ERRORS = (
    "± are standard errors, first of the noise, against infinitely many passes over the same images, then of the "
    "images, of a noise-free mean over as many other images (left out where the data do not determine them)."
)


def bits_section(collection: Collection, results: Results) -> Section:
    """The evaluations by term, differences image by image, other records, and trivial models."""
    shown = {evaluation.path for evaluation in results.evaluations.values()}
    records = [(run, record) for run in collection.runs for record in run.records]
    blocks: list[Any] = []
    if main := [(run, record) for run, record in records if record.path in shown]:
        text = Text(f"Averaged (EMA) parameters at the last evaluated step. {ERRORS}")
        blocks += [text, _by_term(main, "Bits/dim ± noise ± images")]
    missing = [run for run in collection.runs if not run.records]
    blocks += not_made_yet("evaluation", missing, (run_line("eval", run) for run in missing))
    if results.rows:
        text = Text("Differences to the reference, paired by image, as diffenc compare prints them; one seed per arm.")
        differences = [text, comparison_table(results.rows), Items(notes(results.rows))]
        blocks.append(Section("Differences, image by image", differences))
    if others := [(run, record) for run, record in records if record.path not in shown]:
        table = _by_term(others, "Other records, bits/dim ± noise ± images")
        blocks.append(Fold(f"Earlier steps and other evaluations: {len(others)} records", [table]))
    rows = [[name, f"{bpd:.4f}"] for name, bpd in results.trivial.bpd.items()]
    trivial: list[Any] = [Table(["model", "bits/dim"], rows, "Without a network")]
    if results.trivial.missing:
        trivial.append(Text(f"No per-pixel histogram: {results.trivial.missing}"))
    return Section("Bits/dim", [*blocks, Section("Trivial models", trivial)])


def _by_term(records: Sequence[tuple[Run, Record]], caption: str) -> Table:
    terms = list(dict.fromkeys(name for _, r in records for name in r.record["bpd"] if name != "total"))
    rows = []
    for run, (_, record, _) in records:
        estimator = f"{record['dataset']['split']}, {describe_estimator(record['estimator'])}"
        bits = (_bits_and_errors(record, name) for name in ("total", *terms))
        rows.append([run.title, *bits, f"{record['step']:,}", estimator])
    return Table(["run", "total", *terms, "step", "split, estimator"], rows, caption)


def _bits_and_errors(record: dict[str, Any], name: str) -> str:
    """'1.8912 ± 0.0031 ± 0.0123' for the total or a term; `UNKNOWN` for a term that the record does not have."""
    if name not in record["bpd"]:
        return UNKNOWN
    errors = record["standard_error"] if name == "total" else record["standard_error"]["terms"][name]
    return with_errors(record["bpd"][name], errors["noise"], errors["images"])
