"""Results of all runs of a page: bits/dim by term, differences of single runs, statistics over seeds, and costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffenc_jax.core.document import Items, Section, Table, Text
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.numbers import UNKNOWN, format_regret, is_real, with_error
from diffenc_jax.lab.comparisons.compare import Row, compare, comparison_table, notes
from diffenc_jax.lab.comparisons.describe import describe_estimator, nats_per_example
from diffenc_jax.lab.comparisons.significance import finished, summary
from diffenc_jax.lab.comparisons.significance.analysis import Findings, find
from diffenc_jax.lab.comparisons.significance.curves import curves_of_arms
from diffenc_jax.lab.comparisons.significance.figure import draw_analysis
from diffenc_jax.lab.report.collect import Collection
from diffenc_jax.lab.report.html import Fold, embed_figure
from diffenc_jax.runs.record_types import Record
from diffenc_jax.runs.records import Evaluation
from diffenc_jax.runs.stored import StoredRun

ERRORS = (
    "Averaged (EMA) parameters at the last evaluated step. ± are standard errors, first of the noise, against "
    "infinitely many passes over the same {data}, then of the {data}, of a noise-free mean over as many other {data} "
    "(left out where the data do not determine them)."
)


@dataclass(frozen=True)
class Results:
    """Evaluations, statistics and differences that the sections of the page show.

    Attributes:
      findings: findings over seeds; None if there are none, and `why` is the reason.
      over_seeds: the findings if an arm has several seeds.
      evaluations: one evaluation per run, all made in the same way, by workdir.
      rows: the rows of `diffenc compare`, with names of runs in place of paths; empty if an arm has several seeds.
    """

    findings: Findings | None
    over_seeds: Findings | None
    why: str
    evaluations: dict[Path, Evaluation]
    rows: list[Row]


def results_of(collection: Collection, reference: str | None, target: float) -> Results:
    """Results of the runs. Runs that do not form one experiment have no findings.

    Args:
      reference: arm with which the others are compared; None: the reference of the grid, or the first arm. Raises
        InputError if it is not an arm of the grid or, without a grid, of a run.
      target: difference in bits/dim for which the necessary number of seeds is computed.
    """
    arms = collection.grid.arms if collection.grid else collection.arms
    require(reference is None or reference in arms, f"--reference={reference} is not among {', '.join(arms)}")
    reference = reference or (collection.grid.reference if collection.grid else arms[0])
    findings, why, evaluations = None, "", collection.comparable
    try:
        findings = find_over_seeds(collection, reference, target)
        evaluations = {run.workdir: run.evaluation for run in findings.runs}
    except InputError as error:
        why = str(error)
    over_seeds = findings if findings and any(len(arm.bpd) > 1 for arm in findings.analysis.arms.values()) else None
    rows = [] if over_seeds else _compare(collection, evaluations, reference)
    return Results(findings, over_seeds, why, evaluations, rows)


def find_over_seeds(collection: Collection, reference: str, target: float) -> Findings:
    """Findings over seeds, from the evaluations of a root's grid or, without one, from `collection.comparable`.

    Raises InputError if there is no finished run, or if the runs do not form one experiment.
    """
    if collection.root is not None:
        runs, missing = finished.find_runs(collection.root, collection.grid)
    else:
        expected = finished.by_arm_and_seed(collection.runs)
        runs, missing = finished.finished_and_missing(expected, collection.comparable)
    require(bool(runs), "no run is evaluated yet")
    rows = {run.workdir: run.metrics for run in collection.runs}
    curves = curves_of_arms(runs, runs[0].evaluation.record["dataset"]["split"], rows.__getitem__)
    return find(runs, missing, curves, reference, target)


def _compare(collection: Collection, evaluations: dict[Path, Evaluation], reference: str) -> list[Row]:
    """Differences of single runs to the first run of the arm `reference`; empty for a single run.

    If arms have several seeds, the runs with the seed of that first run are compared.
    """
    named = [evaluation._replace(path=Path(collection.names.get(w, str(w)))) for w, evaluation in evaluations.items()]
    named.sort(key=lambda evaluation: evaluation.record["arm"] != reference)
    records = [evaluation.record for evaluation in named]
    if len({record["arm"] for record in records}) > 1:
        named = [evaluation for evaluation in named if evaluation.record["seed"] == records[0]["seed"]]
    return compare(named) if len(named) > 1 else []


def bits_section(collection: Collection, results: Results) -> Section:
    """The evaluations by term, differences image by image, and other records."""
    data = collection.examples
    paths = {evaluation.path for evaluation in results.evaluations.values()}
    every = [(run, one) for run in collection.runs for one in run.evaluations]
    shown = [(run, one.record) for run, one in every if one.path in paths]
    others = [(run, one.record) for run, one in every if one.path not in paths]
    for run in collection.runs:
        if not run.evaluations:
            collection.lacks("eval", run)
    blocks: list[Any] = []
    if shown:
        blocks = [Text(ERRORS.format(data=data)), _by_term(shown, f"Bits/dim ± noise ± {data}", in_head=True)]
    if results.rows:
        text = f"Differences to the reference, paired by {data[:-1]}, as diffenc compare prints them; one seed per arm."
        blocks += [Text(text), comparison_table(results.rows), Items(notes(results.rows))]
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
        nats = nats_per_example(records[0][1]["dataset"])
        columns["nats per example"] = [_with_errors(record, "total", nats) for _, record in records]
    if any("regret" in record for _, record in records):
        columns["regret"] = [format_regret(record.get("regret")) for _, record in records]
    estimators = [f"{one['dataset']['split']}, {describe_estimator(one['estimator'])}" for _, one in records]
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


def significance_section(collection: Collection, results: Results) -> Section:
    """Content and figures of a significance study's summary, or the reason why there are no statistics."""
    title, findings = "Significance over seeds", results.over_seeds
    if findings is not None:
        caption = f"Bits/dim by arm and seed, and differences to {findings.analysis.reference}, paired by seed."
        figure = draw_analysis(findings.analysis, findings.data, is_real(findings.dataset))
        picture = embed_figure(figure, caption)
        blocks = [*summary.analysis_sections(findings), *summary.missing_section(findings)]
        return Section(title, [summary.about(findings.runs), picture, *blocks])
    why = results.why if results.findings is None else "no arm has several seeds; see `diffenc significance`"
    return Section(title, [Text(f"There are no statistics over seeds: {why}.")] if len(collection.runs) > 1 else [])


def costs_section(collection: Collection, results: Results) -> Section:
    """Parameters of each arm, and the costs of its training step that a significance study measured."""
    if results.findings is None:
        return Section("Costs", [])
    costs = finished.read_costs(collection.root, collection.arms) if collection.root is not None else {}
    return Section("Costs", [*summary.costs_blocks(results.findings.analysis, costs)])
