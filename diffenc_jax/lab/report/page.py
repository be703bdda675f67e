"""The page: its title, the numbers at its head, and its sections in their order."""

from typing import Any

from diffenc_jax.core.document import Code, Items, Section, Text
from diffenc_jax.core.numbers import format_record, is_real, with_error
from diffenc_jax.lab.comparisons import compare, describe
from diffenc_jax.lab.comparisons.compare import SINGLE_RUNS
from diffenc_jax.lab.comparisons.significance.summary import cautions, conclusions
from diffenc_jax.lab.figures.style import arm_style
from diffenc_jax.lab.report import sections
from diffenc_jax.lab.report.collect import Collection
from diffenc_jax.lab.report.html import Card, render
from diffenc_jax.lab.report.results import bits_section, costs_section, significance_section
from diffenc_jax.runs.record_types import DatasetEntry

NOISE_AND_IMAGES = (
    "Lower is better. ± (noise) is the standard error against infinitely many passes over the same {data}, ± ({data}) "
    f"that of a mean over as many other {{data}}; {SINGLE_RUNS}."
)
OVER_SEEDS = "Lower is better. ± is one standard error over seeds, and intervals are 95 % t intervals."


def make_page(collection: Collection, reference: str | None, target: float) -> str:
    """The page about the runs as HTML; for `reference` and `target` see `Collection.analyse`."""
    collection.analyse(reference, target)
    content = [
        bits_section(collection),
        significance_section(collection),
        sections.curves_section(collection),
        *sections.study_sections(collection),
        sections.samples_section(collection),
        costs_section(collection),
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
    cards, said = [], cautions(collection.analysis) if collection.analysis else compare.cautions(evaluations.values())
    if analysis is not None:
        for name, arm in analysis.arms.items():
            title, value = f"{name}, {arm.n} seed{'s' * (arm.n > 1)}", with_error(arm.mean, arm.standard_error)
            cards.append(_card(title, f"{value} bits/dim", name, analysis.dataset, arm.mean))
        text, said = OVER_SEEDS, [*conclusions(analysis), *said]
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
