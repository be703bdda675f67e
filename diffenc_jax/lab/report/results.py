"""Results of all runs of a page: statistics over seeds, costs, and differences of single runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffenc_jax.core.document import Code, Section, Text
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.numbers import with_error
from diffenc_jax.lab.report.collect import Collection, Evaluations
from diffenc_jax.lab.report.command_lines import command_line, config_flags, not_made_yet, significance_line
from diffenc_jax.lab.report.embedded import Picture, embed_figure
from diffenc_jax.lab.studies.compare.measure import Row, compare
from diffenc_jax.lab.studies.significance import table as significance
from diffenc_jax.lab.studies.significance.analysis import Findings, find
from diffenc_jax.lab.studies.significance.curves import curves_of_arms
from diffenc_jax.lab.studies.significance.figure import draw_analysis
from diffenc_jax.lab.studies.significance.finished import by_arm_and_seed, find_runs, finished_and_missing, read_costs
from diffenc_jax.lab.studies.significance.grid import cost_file
from diffenc_jax.lab.studies.trivial import TrivialModels, trivial_models


@dataclass(frozen=True)
class Results:
    """Evaluations, statistics and differences that the sections of the page show.

    Attributes:
      findings: findings over seeds; None if there are none, for the reason `why`.
      evaluations: one evaluation per run, all made in one way, by workdir.
      trivial: bits/dim of trivial models.
      rows: the rows of `diffenc compare`, with names of runs in place of paths; empty if an arm has several seeds.
    """

    findings: Findings | None
    why: str
    evaluations: Evaluations
    trivial: TrivialModels
    rows: list[Row]

    @property
    def over_seeds(self) -> Findings | None:
        """The findings if an arm has several seeds."""
        return self.findings if self.findings is not None and self.findings.has_several_seeds else None


def results_of(collection: Collection, reference: str | None, target: float) -> Results:
    """Results of the runs, also of runs that are not those of one experiment, which have no findings.

    Args:
      reference: arm with which the others are compared; None: that of the grid, or the first. Raises InputError if no
        run is of the arm.
      target: difference in bits/dim for which the necessary number of seeds is computed.
    """
    arms = list(collection.by_arm)
    require(reference is None or reference in arms, f"--reference={reference} is not among {', '.join(arms)}")
    reference = reference or (collection.grid.reference if collection.grid else arms[0])
    findings, why, evaluations = None, "", collection.comparable
    try:
        findings = find_over_seeds(collection, reference, target)
        evaluations = {run.workdir: run.evaluation for run in findings.runs}
    except InputError as error:
        why = str(error)
    first = collection.runs[0]
    evaluated = [record.record["dataset"] for record in first.newest]
    trivial = trivial_models(first.config, evaluated) if findings is None else findings.trivial
    several = findings is not None and findings.has_several_seeds
    return Results(findings, why, evaluations, trivial, [] if several else _compare(collection, evaluations, reference))


def find_over_seeds(collection: Collection, reference: str, target: float) -> Findings:
    """Findings over seeds, from the evaluations of a root's grid or else from `collection.comparable`.

    Raises InputError if there is no finished run, or the runs are not those of one experiment.
    """
    if collection.root is not None:
        runs, missing = find_runs(collection.root, collection.grid)
    else:
        expected = by_arm_and_seed((run.workdir, run.config) for run in collection.runs)
        runs, missing = finished_and_missing(expected, collection.comparable)
    require(bool(runs), "no run is evaluated yet")
    rows = {run.workdir: run.metrics for run in collection.runs}
    curves = curves_of_arms(runs, runs[0].evaluation.record["dataset"]["split"], rows.__getitem__)
    return find(runs, missing, curves, reference, target)


def _compare(collection: Collection, evaluations: Evaluations, reference: str) -> list[Row]:
    """Differences of single runs to the first run of the arm `reference`; empty for a single run.

    Where arms have several seeds, the runs of its seed are compared.
    """
    named = [evaluation._replace(path=Path(collection.names[w])) for w, evaluation in evaluations.items()]
    named.sort(key=lambda evaluation: evaluation.record["arm"] != reference)
    records = [evaluation.record for evaluation in named]
    if len({record["arm"] for record in records}) > 1:
        named = [evaluation for evaluation in named if evaluation.record["seed"] == records[0]["seed"]]
    return compare(named) if len(named) > 1 else []


def significance_section(collection: Collection, results: Results) -> Section | None:
    """Content and figures of a significance study's summary; None for a single run."""
    title, findings = "Significance over seeds", results.over_seeds
    if len(collection.runs) < 2:
        return None
    if findings is not None:
        blocks = [*significance.analysis_sections(findings.analysis), *significance.missing_section(findings)]
        return Section(title, [significance.about(findings.runs), *_figures(findings), *blocks])
    if results.findings is None:
        return Section(title, [Text(f"There are no statistics over seeds: {results.why}.")])
    text = Text("No difference is tested until an arm has several seeds:")
    return Section(title, [text, Code(significance_line(collection))])


def _figures(findings: Findings) -> list[Picture]:
    analysis = findings.analysis
    differences = _in_words({comparison.arm: comparison for comparison in analysis.comparisons})
    alt = (
        f"Bits/dim of each seed by arm, with means and 95 % intervals. {_in_words(analysis.arms)}. Differences to "
        f"{analysis.reference}, paired by seed. {differences}."
    )
    caption = f"Bits/dim by arm and seed, and differences to {analysis.reference}, paired by seed."
    return [embed_figure(draw_analysis(analysis, findings.data), alt, caption)]


def _in_words(subjects: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {with_error(over.mean, over.standard_error)}" for name, over in subjects.items())


def costs_section(collection: Collection, results: Results) -> Section:
    """Costs of a training step of each arm."""
    first = {name: runs[0] for name, runs in collection.by_arm.items()}
    known = {arm: cost for run in first.values() for arm, cost in read_costs(run.workdir, [run.config.arm]).items()}
    if collection.root is not None:
        known |= read_costs(collection.root, list(first))
    blocks: list[Any] = [] if results.findings is None else significance.costs_blocks(results.findings.analysis, known)
    without = [run for arm, run in first.items() if arm not in known]
    lines = []
    for run in without:
        file = cost_file(collection.root or run.workdir, run.config.arm)
        lines.append(command_line("costs", *config_flags(run)[0], f"--json={file}"))
    return Section("Costs", [*blocks, *not_made_yet("cost of a step", without, lines)])
