"""Significance over seeds and costs of the arms, with the numbers and tables of a significance study."""

from typing import Any

import numpy as np

from diffenc_jax.core.document import Code, Section, Table, Text
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.numbers import UNKNOWN
from diffenc_jax.lab.report.collect import Collection, Evaluations
from diffenc_jax.lab.report.command_lines import command_line, config_flags, not_made_yet, significance_line
from diffenc_jax.lab.report.embedded import Picture, embed_figure
from diffenc_jax.lab.studies.significance import table as significance
from diffenc_jax.lab.studies.significance.analysis import Findings, find
from diffenc_jax.lab.studies.significance.figure import draw_analysis
from diffenc_jax.lab.studies.significance.finished import (
    by_arm_and_seed,
    curves_of_arms,
    find_runs,
    finished_and_missing,
    read_costs,
)
from diffenc_jax.lab.studies.significance.grid import cost_file
from diffenc_jax.lab.studies.trivial import TrivialModels, trivial_models


def find_over_seeds(collection: Collection, reference: str | None, target: float) -> Findings:
    """Findings over seeds, from the evaluations of a root's grid or else from `collection.comparable`.

    Args:
      reference: see `reference_of`.
      target: difference in bits/dim for which the necessary number of seeds is computed.

    Raises:
      InputError: there is no finished run, or the runs are not those of one experiment.
    """
    if collection.root is not None:
        runs, missing = find_runs(collection.root, collection.grid)
    else:
        expected = by_arm_and_seed((run.workdir, run.config) for run in collection.runs)
        runs, missing = finished_and_missing(expected, collection.comparable)
    require(bool(runs), "no run is evaluated yet")
    rows = {run.workdir: run.metrics for run in collection.runs}
    curves = curves_of_arms(runs, runs[0].evaluation.record["dataset"]["split"], rows.__getitem__)
    return find(runs, missing, curves, reference_of(collection, reference), target)


def reference_of(collection: Collection, reference: str | None) -> str:
    """The arm with which the others are compared: `reference`, or else that of the grid, or the first."""
    return reference or (collection.grid and collection.grid.reference) or next(iter(collection.by_arm))


def trivial_of(collection: Collection, found: Findings | InputError) -> TrivialModels:
    """The trivial models of `found`, or else those of the first run."""
    if isinstance(found, Findings):
        return found.trivial
    run = collection.runs[0]
    return trivial_models(run.config, [record.record["dataset"] for record in run.newest])


def evaluations_of(collection: Collection, found: Findings | InputError) -> Evaluations:
    """The evaluations that the page is about: those of `found`, or else `collection.comparable`."""
    if isinstance(found, InputError):
        return collection.comparable
    return {run.workdir: run.evaluation for run in found.runs}


def significance_section(collection: Collection, found: Findings | InputError) -> Section | None:
    """Content and figures of a significance study's summary; None for a single run."""
    title = "Significance over seeds"
    if len(collection.runs) < 2:
        return None
    if isinstance(found, InputError):
        return Section(title, [Text(f"There are no statistics over seeds: {found}.")])
    if not found.has_several_seeds:
        line = significance_line(collection)
        return Section(title, [Text("No difference is tested until an arm has several seeds:"), Code(line)])
    blocks = [*significance.findings(found.analysis), *significance.missing_section(found)]
    return Section(title, [significance.about(found.runs), *_figures(found), *blocks])


def _figures(found: Findings) -> list[Picture]:
    analysis = found.analysis
    reference, comparisons = analysis["reference"], analysis["comparisons"]
    arms = "; ".join(f"{name}: {significance.mean_and_interval(arm)}" for name, arm in analysis["arms"].items())
    differences = "; ".join(f"{c['arm']}: {significance.mean_and_interval(c)}" for c in comparisons)
    texts = {
        "values": (
            f"Bits/dim of each seed by arm, with means and 95 % intervals. {arms}.",
            "Bits/dim by arm and seed.",
        ),
        "differences": (
            f"Difference of each seed to {reference}, with means and 95 % intervals. {differences}.",
            f"Differences to {reference}, paired by seed.",
        ),
    }
    return [embed_figure(figure, *texts[name]) for name, figure in draw_analysis(analysis, found.data).items()]


def costs_section(collection: Collection, found: Findings | InputError) -> Section:
    """Costs of a training step of each arm, and the speed of the runs."""
    first = {name: runs[0] for name, runs in collection.by_arm.items()}
    known = {arm: cost for run in first.values() for arm, cost in read_costs(run.workdir, [run.config.arm]).items()}
    if collection.root is not None:
        known |= read_costs(collection.root, list(first))
    blocks: list[Any] = [] if isinstance(found, InputError) else significance.costs_blocks(found.analysis, known)
    without = [run for arm, run in first.items() if arm not in known]
    files = [cost_file(collection.root or run.workdir, run.config.arm) for run in without]
    pairs = zip(without, files, strict=True)
    lines = (command_line("costs", *config_flags(run)[0], f"--json={file}") for run, file in pairs)
    blocks += not_made_yet("cost of a step", without, lines)
    return Section("Costs", [*blocks, *_pace(collection)])


def _pace(collection: Collection) -> list[Table]:
    """Speeds that the runs have logged, if any."""
    rows = []
    for run in collection.runs:
        rates = [row["images_per_second"] for row in run.metrics if "images_per_second" in row]
        seconds = ", ".join(f"{record.record['seconds']:,.0f}" for record in run.newest)
        devices = ", ".join(dict.fromkeys(record.record["device"] for record in run.newest))
        rate = f"{np.median(rates):,.1f}" if rates else UNKNOWN
        if rates or seconds:
            rows.append([run.title, rate, seconds or UNKNOWN, devices or UNKNOWN])
    heads = ["run", "images per second", "seconds to evaluate", "device"]
    caption = "Pace: the median over the log, and each evaluation at the last step"
    return [Table(heads, rows, caption)] if rows else []
