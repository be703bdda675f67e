"""The page: its title, the numbers at its head, and its sections in their order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffenc_jax.core.document import Items, Section, Text
from diffenc_jax.core.numbers import format_record, with_error
from diffenc_jax.lab.figures.style import arm_style
from diffenc_jax.lab.report.bits_per_dim import bits_section
from diffenc_jax.lab.report.collect import Collection, Evaluations
from diffenc_jax.lab.report.command_lines import gathered
from diffenc_jax.lab.report.configuration import configuration_section
from diffenc_jax.lab.report.curves import curves_section
from diffenc_jax.lab.report.html import Card, Page
from diffenc_jax.lab.report.provenance import commands_section, provenance_section
from diffenc_jax.lab.report.results import Results, costs_section, results_of, significance_section
from diffenc_jax.lab.report.samples import samples_section
from diffenc_jax.lab.report.study_sections import study_sections
from diffenc_jax.lab.studies.compare.describe import describe_estimator, describe_images
from diffenc_jax.lab.studies.compare.table import SINGLE_RUNS, conclusions
from diffenc_jax.lab.studies.significance.analysis import Arm
from diffenc_jax.lab.studies.significance.headline import headline
from diffenc_jax.lab.studies.significance.table import over_common_seeds

NOISE_AND_IMAGES = (
    "Lower is better. ± (noise) is the standard error against infinitely many passes over the same images, ± (images) "
    "that of a mean over as many other images."
)
OVER_SEEDS = "Lower is better. ± is one standard error over seeds, and intervals are 95 % t intervals."


def make_page(collection: Collection, places: Sequence[Path], out: Path, reference: str | None, target: float) -> Page:
    """The page about the runs.

    Args:
      places, out: arguments of the command, which the page repeats.
      reference, target: see `results_of`.
    """
    results = results_of(collection, reference, target)
    sections = [
        bits_section(collection, results),
        significance_section(collection, results),
        curves_section(collection),
        *study_sections(collection),
        samples_section(collection),
        costs_section(collection, results),
        configuration_section(collection),
        provenance_section(collection),
    ]
    content = gathered((section for section in sections if section), list(collection.by_arm))
    content.append(commands_section(collection, places, out))
    if collection.notes:
        content.append(Section("Files and lines that are left out", [Items(collection.notes)]))
    lead = [Text(_lead(collection, results.evaluations))]
    return Page(_title(collection), lead, *_heads(collection, results), content)


def _title(collection: Collection) -> str:
    names = ", ".join(dict.fromkeys(run.config.name for run in collection.runs))
    if len(collection.runs) == 1:
        return f"{names}: {collection.runs[0].title}"
    arms = ", ".join(collection.by_arm)
    numbers = sorted({run.config.seed for run in collection.runs})
    return f"{names}: {arms}; {'seed' if len(numbers) == 1 else 'seeds'} {', '.join(map(str, numbers))}"


def _lead(collection: Collection, evaluations: Evaluations) -> str:
    count = len(collection.runs)
    runs = "One training run" if count == 1 else f"{count} training runs of {len(collection.by_arm)} arms"
    text = f"{runs} of diffusion models by diffenc_jax"
    if evaluations:
        record = next(iter(evaluations.values())).record
        seeds = sorted({evaluation.record["estimator"]["seed"] for evaluation in evaluations.values()})
        noise = f"noise of seed {seeds[0]}" if len(seeds) == 1 else "noise of each run's seed"
        estimator = f"{describe_estimator(record['estimator'])}, {noise}"
        text += f", evaluated on {describe_images(record['dataset'])}; {estimator}"
    return f"{text}."


def _heads(collection: Collection, results: Results) -> tuple[list[Card], list[Any]]:
    """The numbers at the head of the page, and the blocks below them: conclusions over seeds, or else of single runs.

    Arms are compared only over the same seeds.
    """
    cautions = []
    if results.findings is not None:
        analysis = results.findings.analysis
        arms, common, concluded = analysis.arms, analysis.common_seeds, headline(analysis)
        cautions = concluded.cautions
        unequal = [] if all(list(arm.bpd) == common for arm in arms.values()) else [over_common_seeds(common)]
        if results.over_seeds:
            cards = [_card_over_seeds(name, arm) for name, arm in arms.items() if common]
            return cards, [Text(". ".join([*unequal, OVER_SEEDS])), Items(concluded.items)]
        if unequal:
            return [], [Text(f"{unequal[0]}.")]
    cards = []
    for workdir, evaluation in results.evaluations.items():
        number, _, remark = format_record(evaluation.record).partition(" ")
        colour = arm_style(evaluation.record["arm"])["color"]
        cards.append(Card(collection.names[workdir], number, remark, colour))
    blocks: list[Any] = [Text(NOISE_AND_IMAGES if cards else "No run is evaluated yet.")]
    if items := [*(conclusions(results.rows) if results.rows else []), *cautions]:
        blocks.append(Items(items))
    if results.rows:
        blocks.append(Text(f"{SINGLE_RUNS[0].upper()}{SINGLE_RUNS[1:]}."))
    return cards, blocks


def _card_over_seeds(name: str, arm: Arm) -> Card:
    number, _, error = with_error(arm.mean, arm.standard_error).partition(" ")
    title = f"{name}, {arm.n} seed{'s' * (arm.n > 1)}"
    return Card(title, number, f"{error} bits/dim".strip(), arm_style(name)["color"])
