"""The page: its title, the numbers at its head, and its sections in their order, those of the results among them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffenc_jax.core.document import Code, Items, Section, Table, Text
from diffenc_jax.core.numbers import UNKNOWN, format_record, format_regret, is_real, with_error
from diffenc_jax.lab.comparisons import compare, describe
from diffenc_jax.lab.comparisons.significance import finished, summary
from diffenc_jax.lab.comparisons.significance.figure import draw_analysis
from diffenc_jax.lab.figures.style import arm_style
from diffenc_jax.lab.report import sections
from diffenc_jax.lab.report.collect import Collection
from diffenc_jax.lab.report.html import Card, Fold, embed_figure, render
from diffenc_jax.runs.record_types import DatasetEntry, Record
from diffenc_jax.runs.stored import StoredRun

NOISE_AND_IMAGES = (
    "Lower is better. ± (noise) is the standard error against infinitely many passes over the same {data}, ± ({data}) "
    f"that of a mean over as many other {{data}}; {compare.SINGLE_RUNS}."
)
OVER_SEEDS = "Lower is better. ± is one standard error over seeds, and intervals are 95 % t intervals."
ERRORS = (
    "Averaged (EMA) parameters at the last evaluated step. ± are standard errors, first of the noise, against "
    "infinitely many passes over the same {data}, then of the {data}, of a noise-free mean over as many other {data} "
    "(left out where the data do not determine them)."
)


def make_page(collection: Collection, reference: str | None, target: float) -> str:
    """The page about the runs as HTML; for `reference` and `target` see `Collection.analyse`."""
    collection.analyse(reference, target)
    content = [
        _bits(collection),
        _significance(collection),
        sections.curves_section(collection),
        *sections.study_sections(collection),
        sections.samples_section(collection),
        _costs(collection),
        sections.configuration_section(collection),
        sections.provenance_section(collection),
    ]
    if collection.not_made:
        content.append(Section("Not made yet", [Code("\n".join(collection.not_made))]))
    if collection.notes:
        content.append(Section("Files and lines that are left out", [Items(collection.notes)]))
    cards, lead = _head(collection)
    return render(_title(collection), cards, lead, [section for section in content if section.blocks])


def _title(collection: Collection) -> str:
    names = ", ".join(dict.fromkeys(run.config.name for run in collection.runs))
    seeds = sorted({run.config.seed for run in collection.runs})
    return f"{names}: {', '.join(collection.arms)}; seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _head(collection: Collection) -> tuple[list[Card], list[Any]]:
    """The numbers at the head of the page, and the text below them: for arms over seeds, or otherwise for single runs.

    Arms are compared only over the same seeds.
    """
    evaluations, data, analysis = collection.evaluations, collection.examples, collection.over_seeds
    if not evaluations:
        return [], [Text("No run is evaluated yet.")]
    records = [evaluation.record for evaluation in evaluations.values()]
    whole, cards = collection.analysis, []
    said = summary.cautions(whole) if whole else compare.cautions(evaluations.values())
    if analysis is not None:
        for name, arm in analysis.arms.items():
            title, value = f"{name}, {arm.n} seed{'s' * (arm.n > 1)}", with_error(arm.mean, arm.standard_error)
            cards.append(_card(title, f"{value} bits/dim", name, analysis.dataset, arm.mean))
        text, said = OVER_SEEDS, [*summary.conclusions(analysis), *said]
    else:
        titles = {run.workdir: run.title for run in collection.runs}
        titles = titles if len(set(titles.values())) == len(titles) else collection.names
        for workdir, record in zip(evaluations, records, strict=True):
            title = titles.get(workdir, str(workdir))
            cards.append(_card(title, format_record(record), record["arm"], record["dataset"], record["bpd"]["total"]))
        text = NOISE_AND_IMAGES.format(data=data)
    record = records[0]
    seeds = sorted({record["estimator"]["seed"] for record in records})
    noise = f"noise of seed {seeds[0]}" if len(seeds) == 1 else "noise of each run's seed"
    steps = ", ".join(f"{step:,}" for step in sorted({record["step"] for record in records}))
    how = f"{describe.estimator(record['estimator'])}, {noise}; step {steps}"
    images = f"Evaluated on {describe.images(record['dataset'])}; {how}."
    return cards, [Text(images), Text(text), *([Items(said)] if said else [])]


def _card(title: str, value: str, arm: str, dataset: DatasetEntry, bpd: float | None) -> Card:
    """A card of `value`, whose first word is the number; for real numbers, with `bpd` in nats per example."""
    number, _, remark = value.partition(" ")
    if bpd is not None and is_real(dataset):
        remark += f"; {bpd * describe.nats_per_example(dataset):.4f} nats per example"
    return Card(title, number, remark, arm_style(arm)["color"])


def _differences(collection: Collection) -> list[compare.Row]:
    """The rows of `diffenc compare`, with names of runs in place of paths, to the first run of the reference.

    Runs with the seed of that first run are compared; there are no rows for a single run, or if an arm has several
    seeds.
    """
    if collection.over_seeds:
        return []
    names, evaluations = collection.names, collection.evaluations
    named = [evaluation._replace(path=Path(names.get(w, str(w)))) for w, evaluation in evaluations.items()]
    named.sort(key=lambda evaluation: evaluation.record["arm"] != collection.reference)
    records = [evaluation.record for evaluation in named]
    if len({record["arm"] for record in records}) > 1:
        named = [evaluation for evaluation in named if evaluation.record["seed"] == records[0]["seed"]]
    return compare.compare(named) if len(named) > 1 else []


def _bits(collection: Collection) -> Section:
    """The evaluations by term, differences image by image, and other records."""
    data, rows = collection.examples, _differences(collection)
    paths = {evaluation.path for evaluation in collection.evaluations.values()}
    every = [(run, one) for run in collection.runs for one in run.evaluations]
    shown = [(run, one.record) for run, one in every if one.path in paths]
    others = [(run, one.record) for run, one in every if one.path not in paths]
    for run in collection.runs:
        if not run.evaluations:
            collection.lacks("eval", run)
    blocks: list[Any] = []
    if shown:
        blocks = [Text(ERRORS.format(data=data)), _by_term(shown, f"Bits/dim ± noise ± {data}", in_head=True)]
    if rows:
        text = f"Differences to the reference, paired by {data[:-1]}, as diffenc compare prints them; one seed per arm."
        blocks += [Text(text), compare.comparison_table(rows), Items(compare.notes(rows))]
    if others:
        records = _by_term(others, f"Other records, bits/dim ± noise ± {data}")
        blocks.append(Fold(f"Earlier steps and other evaluations: {len(others)} records", [records]))
    return Section("Bits/dim", blocks)


def _by_term(records: Sequence[tuple[StoredRun, Record]], caption: str, in_head: bool = False) -> Table:
    """A row per record. With `in_head` the head of the page has the step and the estimator that all records share."""
    terms = list(dict.fromkeys(name for _, record in records for name in record["bpd"] if name != "total"))
    columns = {"run": [run.title for run, _ in records]}
    columns |= {name: [_with_errors(record, name) for _, record in records] for name in ("total", *terms)}
    if is_real(records[0][1]["dataset"]):
        nats = describe.nats_per_example(records[0][1]["dataset"])
        columns["nats per example"] = [_with_errors(record, "total", nats) for _, record in records]
    if any("regret" in record for _, record in records):
        columns["regret"] = [format_regret(record.get("regret")) for _, record in records]
    estimators = [f"{one['dataset']['split']}, {describe.estimator(one['estimator'])}" for _, one in records]
    about = {"step": [f"{record['step']:,}" for _, record in records], "split, estimator": estimators}
    columns |= {head: cells for head, cells in about.items() if not in_head or len(set(cells)) > 1}
    return Table([*columns], list(zip(*columns.values(), strict=True)), caption)


def _with_errors(record: Record, name: str, unit: float = 1.0) -> str:
    """'1.8912 ± 0.0031 ± 0.0123' for the total or a term, times `unit`; `UNKNOWN` if the record lacks the term."""
    if name not in record["bpd"]:
        return UNKNOWN
    errors = record["standard_error"] if name == "total" else record["standard_error"]["terms"][name]
    values = record["bpd"][name], errors["noise"], errors["images"]
    return with_error(*(None if value is None else unit * value for value in values))


def _significance(collection: Collection) -> Section:
    """Content and figures of a significance study's summary, or the reason why there are no statistics."""
    title, analysis = "Significance over seeds", collection.over_seeds
    if analysis is not None:
        caption = f"Bits/dim by arm and seed, and differences to {analysis.reference}, paired by seed."
        picture = embed_figure(draw_analysis(analysis, analysis.data, is_real(analysis.dataset)), caption)
        blocks = [*summary.analysis_sections(analysis), *summary.missing_section(analysis)]
        return Section(title, [summary.about(analysis.runs), picture, *blocks])
    why = collection.why or "no arm has several seeds; see `diffenc significance`"
    return Section(title, [Text(f"There are no statistics over seeds: {why}.")] if len(collection.runs) > 1 else [])


def _costs(collection: Collection) -> Section:
    """Parameters of each arm, and the costs of its training step that a significance study measured."""
    if collection.analysis is None:
        return Section("Costs", [])
    costs = finished.read_costs(collection.root, collection.arms) if collection.root is not None else {}
    return Section("Costs", [*summary.costs_blocks(collection.analysis, costs)])
