"""Bits/dim: by term with errors, the differences between runs, and what is trivially reached."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from diffenc_jax import compare
from diffenc_jax.compare import UNKNOWN
from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd
from diffenc_jax.data.dataset import load
from diffenc_jax.data.sources import SOURCES
from diffenc_jax.document import Code, Items, Section, Table, Text
from diffenc_jax.errors import InputError
from diffenc_jax.report import commands
from diffenc_jax.report.collect import Collection, Record, Run
from diffenc_jax.report.html import Fold
from diffenc_jax.stats.uncertainty import StandardErrors

ERRORS = (
    "± are standard errors, first of the noise, then of the images: of the mean against endless passes over the same "
    "images, and of a mean over as many other images, were there no noise (– where it cannot be told)."
)


def section(collection: Collection) -> Section:
    """Every record's figures, what differs, and the yardsticks."""
    newest = [(run, record) for run in collection.runs for record in run.newest]
    blocks: list[Any] = []
    if newest:
        blocks += [Text(f"Averaged (EMA) parameters at the last step evaluated. {ERRORS}"), _by_term(newest, "")]
    earlier = [(run, r) for run in collection.runs for r in run.records if r.step < run.step]
    if earlier:
        table = _by_term(earlier, "Records of earlier steps, bits/dim ± noise ± images")
        blocks.append(Fold(f"Earlier steps: {len(earlier)} records", [table]))
    if missing := [run for run in collection.runs if not run.records]:
        lines = "\n".join(commands.evaluate(run) for run in missing)
        blocks += [Text(f"Not evaluated yet: {', '.join(run.title for run in missing)}."), Code(lines)]
    blocks += [*_differences(collection), _yardsticks(collection.runs[0])]
    return Section("Bits/dim", blocks)


def _by_term(records: list[tuple[Run, Record]], caption: str) -> Table:
    terms = list(dict.fromkeys(name for _, r in records for name in r.record["bpd"] if name != "total"))
    rows = [
        [
            run.title,
            *(value(r.record, name) for name in ("total", *terms)),
            f"{r.step:,}",
            f"{r.record['dataset']['split']}, {compare.describe(r.record['estimator'])}",
        ]
        for run, r in records
    ]
    caption = caption or "Bits/dim ± noise ± images"
    return Table(["run", "total", *terms, "step", "split, estimator"], rows, caption)


def value(record: dict[str, Any], name: str) -> str:
    """'1.8912 ± 0.0031 ± 0.0123' of the total or a term; without errors where an older record has none."""
    if name not in record["bpd"]:
        return UNKNOWN
    errors = record.get("standard_error") or {}
    if name != "total":
        errors = errors.get("terms", {}).get(name, {})
    if not errors:
        return f"{record['bpd'][name]:.4f}"
    return compare.with_errors(record["bpd"][name], StandardErrors(*map(errors.get, StandardErrors._fields)))


def _differences(collection: Collection) -> list[Section]:
    """compare's table of the runs that have an evaluation by one estimator, which are called by their names in it."""
    if len(collection.comparable) < 2:
        return []
    rows = compare.table([e._replace(path=Path(collection.name_of(e))) for e in collection.comparable])
    text = Text("The best first, and what each other exceeds it by, image by image, as compare prints it.")
    table = Table(compare.HEADS, [compare.cells(row) for row in rows], "Differences to the best, bits/dim")
    return [Section("Differences, image by image", [text, table, Items(compare.notes(rows))])]


def _yardsticks(run: Run) -> Section:
    """What is reached without a model: uniform levels, and each pixel's histogram where the images are at hand."""
    levels = run.config.data.levels
    rows = [[f"uniform, log2 {levels}", f"{uniform_bpd(levels):.4f}"]]
    notes = []
    try:
        rows.insert(0, ["per-pixel histogram of training", f"{_histogram(run):.4f}"])
    except InputError as error:
        notes = [Text(f"No per-pixel histogram: {error}")]
    caption = "Without a model"
    return Section("Yardsticks", [Table(["yardstick", "bits/dim"], rows, caption), *notes])


def _histogram(run: Run) -> float:
    """Bits/dim of the per-pixel histogram; raises InputError where the images are not at hand, or are others."""
    config: ConfigDict = run.config
    source, split = config.data.source, config.eval.split
    if source in SOURCES and SOURCES[source].prepared:
        raise InputError(f"the images of {source} are not looked for here; training prints it when it ends")
    dataset = load(config, *dict.fromkeys(("train", split)))
    for record in run.newest:
        there = record.record["dataset"]
        if there["split"] == split and there["sha256"] != dataset.sha256(split):
            raise InputError(f"{source} holds other images now than those that were evaluated")
    return histogram_bpd(dataset.splits["train"], dataset.splits[split], dataset.levels)
