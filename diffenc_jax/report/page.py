"""The page: its title, what matters most, and its sections in their order."""

from pathlib import Path
from typing import Any

from diffenc_jax import compare
from diffenc_jax.document import Items, Section, Text
from diffenc_jax.errors import InputError
from diffenc_jax.records import format_record
from diffenc_jax.report import configuration, curves, likelihood, provenance, seeds, studies
from diffenc_jax.report.collect import Collection
from diffenc_jax.report.html import Headline, Page
from diffenc_jax.report.seeds import Seeds
from diffenc_jax.significance import report
from diffenc_jax.stats.uncertainty import StandardErrors

NOISE_AND_IMAGES = (
    "Less is better. ± (noise) is the standard error against endless passes over the same images, ± (images) that of a "
    "mean over as many others."
)
OVER_SEEDS = "Less is better. ± is one standard error over seeds, and intervals are 95 % t intervals."


def make(collection: Collection, places: list[Path], out: Path, reference: str | None, matters: float) -> Page:
    """All that is to be said of the runs.

    Args:
      places, out: what the command was given.
      reference, matters: see `seeds.of`.

    Raises:
      InputError: there is no such reference.
    """
    found = _seeds(collection, reference, matters)
    sections = [
        likelihood.section(collection),
        seeds.section(collection, found),
        curves.section(collection),
        studies.by_time(collection),
        studies.depth(collection),
        studies.samples(collection),
        studies.encoder(collection),
        seeds.costs(collection, found),
        configuration.section(collection),
        provenance.section(collection),
        provenance.reproduce(collection, places, out),
    ]
    if collection.notes:
        sections.append(Section("What could not be read", [Items(collection.notes)]))
    return Page(_title(collection), [Text(_lead(collection))], *_heads(collection, found), [s for s in sections if s])


def _seeds(collection: Collection, reference: str | None, matters: float) -> Seeds | InputError:
    """The analysis, or why there is none; the page has other things to say."""
    arms = list(collection.by_arm)
    if reference is not None and reference not in arms:
        raise InputError(f"--reference={reference} is not among {', '.join(arms)}")
    try:
        return seeds.of(collection, reference, matters)
    except InputError as error:
        return error


def _title(collection: Collection) -> str:
    names = ", ".join(dict.fromkeys(run.config.name for run in collection.runs))
    if len(collection.runs) == 1:
        return f"{names}: {collection.runs[0].title}"
    arms = ", ".join(collection.by_arm)
    numbers = sorted({run.config.seed for run in collection.runs})
    return f"{names}: {arms}; {'seed' if len(numbers) == 1 else 'seeds'} {', '.join(map(str, numbers))}"


def _lead(collection: Collection) -> str:
    count = len(collection.runs)
    runs = "One training run" if count == 1 else f"{count} training runs of {len(collection.by_arm)} arms"
    text = f"{runs} of diffusion models by diffenc_jax"
    if evaluations := collection.comparable:
        record = evaluations[0].record
        text += f", evaluated on {compare.images_of(record['dataset'])}; {compare.describe(record['estimator'])}"
    return f"{text}."


def _heads(collection: Collection, found: Seeds | InputError) -> tuple[list[Headline], list[Any]]:
    """The figures at the head of the page, and what is said under them."""
    if isinstance(found, Seeds) and found.several:
        heads = [
            Headline(f"{name}, {arm['n']} seed{'s' * (arm['n'] > 1)}", f"{arm['mean']:.4f}", _error(arm))
            for name, arm in found.analysis["arms"].items()
        ]
        return heads, [Text(OVER_SEEDS), Items(report.reading(found.analysis))]
    heads = []
    for evaluation in collection.comparable:
        errors = evaluation.record.get("standard_error") or dict.fromkeys(StandardErrors._fields)
        number, _, remark = format_record(evaluation.record | {"standard_error": errors}).partition(" ")
        heads.append(Headline(collection.name_of(evaluation), number, remark))
    return heads, [Text(NOISE_AND_IMAGES)] if heads else [Text("No evaluation is there to be shown yet.")]


def _error(arm: dict[str, Any]) -> str:
    return f"± {arm['standard_error']:.4f} bits/dim" if arm["standard_error"] is not None else "bits/dim"
