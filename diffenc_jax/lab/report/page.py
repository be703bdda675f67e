"""The page: its title, the numbers at its head, and its sections in their order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffenc_jax.core.document import Items, Section, Text
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.numbers import format_record, with_error
from diffenc_jax.lab.figures.style import arm_style
from diffenc_jax.lab.report.bits_per_dim import bits_section, compare_runs
from diffenc_jax.lab.report.collect import Collection, Evaluations
from diffenc_jax.lab.report.command_lines import gathered
from diffenc_jax.lab.report.configuration import configuration_section
from diffenc_jax.lab.report.curves import curves_section
from diffenc_jax.lab.report.html import Headline, Page
from diffenc_jax.lab.report.pixels import pixels_section
from diffenc_jax.lab.report.provenance import commands_section, provenance_section
from diffenc_jax.lab.report.samples import samples_section
from diffenc_jax.lab.report.seeds import (
    costs_section,
    evaluations_of,
    find_over_seeds,
    reference_of,
    significance_section,
    trivial_of,
)
from diffenc_jax.lab.report.study_sections import study_sections
from diffenc_jax.lab.studies.compare.describe import describe_estimator, describe_images
from diffenc_jax.lab.studies.compare.measure import Row
from diffenc_jax.lab.studies.compare.table import SINGLE_RUNS, conclusions
from diffenc_jax.lab.studies.significance.analysis import Findings
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
      reference, target: see `find_over_seeds`; raises InputError if no run is of the arm `reference`.
    """
    found = _find(collection, reference, target)
    evaluations, reference = evaluations_of(collection, found), reference_of(collection, reference)
    is_over_seeds = isinstance(found, Findings) and found.has_several_seeds
    rows = [] if is_over_seeds else compare_runs(collection, evaluations, reference)
    sections = [
        bits_section(collection, evaluations, rows, trivial_of(collection, found)),
        significance_section(collection, found),
        curves_section(collection),
        pixels_section(collection),
        *study_sections(collection),
        samples_section(collection),
        costs_section(collection, found),
        configuration_section(collection),
        provenance_section(collection),
    ]
    content = gathered((section for section in sections if section), list(collection.by_arm))
    sections = [*content, commands_section(collection, places, out)]
    if collection.notes:
        sections.append(Section("Files and lines that are left out", [Items(collection.notes)]))
    lead = [Text(_lead(collection, evaluations))]
    heads = _heads(collection, found, evaluations, rows)
    return Page(_title(collection), lead, *heads, sections)


def _find(collection: Collection, reference: str | None, target: float) -> Findings | InputError:
    """The findings over seeds, or the reason why there are none; the page has other contents."""
    arms = list(collection.by_arm)
    if reference is not None and reference not in arms:
        raise InputError(f"--reference={reference} is not among {', '.join(arms)}")
    try:
        return find_over_seeds(collection, reference, target)
    except InputError as error:
        return error


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


def _heads(
    collection: Collection, found: Findings | InputError, evaluations: Evaluations, rows: Sequence[Row]
) -> tuple[list[Headline], list[Any]]:
    """The numbers at the head of the page, and the blocks below them: conclusions over seeds, or else from `rows`.

    Arms are compared only over the same seeds.
    """
    if isinstance(found, Findings):
        arms, common = found.analysis["arms"], found.analysis["common_seeds"]
        unequal = [] if all(len(arm["bpd"]) == len(common) for arm in arms.values()) else [over_common_seeds(common)]
        if found.has_several_seeds:
            heads = [_head_over_seeds(name, arm) for name, arm in arms.items() if common]
            return heads, [Text(". ".join([*unequal, OVER_SEEDS])), Items(found.headline.items)]
        if unequal:
            return [], [Text(f"{unequal[0]}.")]
    heads = []
    for workdir, evaluation in evaluations.items():
        number, _, remark = format_record(evaluation.record).partition(" ")
        colour = arm_style(evaluation.record["arm"])["color"]
        heads.append(Headline(collection.names[workdir], number, remark, colour))
    cautions = found.headline.cautions if isinstance(found, Findings) else []
    known = [Items(items)] if (items := [*(conclusions(rows) if rows else []), *cautions]) else []
    known += [Text(f"{SINGLE_RUNS[0].upper()}{SINGLE_RUNS[1:]}.")] if rows else []
    return heads, [Text(NOISE_AND_IMAGES if heads else "No run is evaluated yet."), *known]


def _head_over_seeds(name: str, arm: dict[str, Any]) -> Headline:
    number, _, error = with_error(arm["mean"], arm["standard_error"]).partition(" ")
    title = f"{name}, {arm['n']} seed{'s' * (arm['n'] > 1)}"
    return Headline(title, number, f"{error} bits/dim".strip(), arm_style(name)["color"])
