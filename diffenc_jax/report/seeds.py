"""Significance over seeds, and what the arms cost: what `diffenc_jax.significance` says of the same runs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffenc_jax.compare import UNKNOWN
from diffenc_jax.config import require
from diffenc_jax.document import Code, Section, Table, Text
from diffenc_jax.errors import InputError
from diffenc_jax.report import collect, commands, figures
from diffenc_jax.report.collect import Collection
from diffenc_jax.report.figures import Picture
from diffenc_jax.significance import plots, report, results
from diffenc_jax.significance.analysis import analyse
from diffenc_jax.significance.results import Missing, Run


@dataclass(frozen=True)
class Seeds:
    """The analysis of the runs that are finished, and those that are not."""

    analysis: dict[str, Any]
    runs: list[Run]
    missing: list[Missing]

    @property
    def several(self) -> bool:
        """Whether an arm has several seeds."""
        return any(arm["n"] > 1 for arm in self.analysis["arms"].values())


def of(collection: Collection, reference: str | None, matters: float) -> Seeds:
    """The analysis; for a root, of the evaluations that its experiment asks for, and else of those that most runs have.

    Args:
      reference: the arm that each other is compared with; None: the experiment's, or the first.
      matters: a difference in bits/dim that would matter.

    Raises:
      InputError: there is no finished run, or they are not runs of one experiment.
    """
    if collection.root is None:
        runs, missing = _loose(collection)
    else:
        runs, missing = results.collect(collection.root, collection.experiment)
    require(bool(runs), "no run is evaluated yet")
    arms = list(dict.fromkeys(run.arm for run in [*runs, *missing]))
    noted = collection.experiment and collection.experiment.reference
    chosen = reference or noted or next(iter(collection.by_arm))
    require(chosen in arms, f"--reference={chosen} is not among {', '.join(arms)}")
    return Seeds(analyse(runs, chosen, matters), runs, missing)


def _loose(collection: Collection) -> tuple[list[Run], list[Missing]]:
    """The runs, each with its evaluation among those that can be compared."""
    evaluations = {evaluation.path.parent.parent: evaluation for evaluation in collection.comparable}
    runs, missing, seen = [], [], {}
    for run in collection.runs:
        key, evaluation = (run.config.arm, run.config.seed), evaluations.get(run.workdir)
        if key in seen:
            raise InputError(f"{seen[key]} and {run.workdir} hold the same arm and seed")
        seen[key] = run.workdir
        if evaluation is None:
            missing.append(Missing(*key, "not evaluated, or not as the others are"))
        elif np.isfinite(evaluation.bits).all():
            runs.append(Run(*key, run.workdir, run.config, evaluation))
        else:
            missing.append(Missing(*key, f"evaluated, but {evaluation.path} has values that are no numbers"))
    results.check(runs)
    return runs, missing


def section(collection: Collection, seeds: Seeds | InputError) -> Section | None:
    """The report of significance over seeds, with its figures; None for a single run."""
    title = "Significance over seeds"
    if len(collection.runs) < 2:
        return None
    if isinstance(seeds, InputError):
        return Section(title, [Text(f"Nothing is said over seeds: {seeds}.")])
    analysis = seeds.analysis
    if not seeds.several:
        given = commands.over_seeds(collection)
        return Section(title, [Text("No arm has several seeds yet, so that no difference is tested:"), Code(given)])
    blocks = [report.about(seeds.runs), *report.findings(analysis), *report.absent(seeds.missing, analysis)]
    return Section(title, [blocks[0], *_figures(seeds), *blocks[1:]])


def _figures(seeds: Seeds) -> list[Picture]:
    analysis = seeds.analysis
    dataset = seeds.runs[0].evaluation.record["dataset"]
    drawn = plots.draw(analysis, f"{dataset['name']}, {dataset['split']}")
    arms = "; ".join(f"{name}: {report.mean_and_interval(arm)}" for name, arm in analysis["arms"].items())
    told = {
        "values": (
            f"Every seed's bits/dim by arm, with means and 95 % intervals. {arms}.",
            "Bits/dim by arm and seed.",
        ),
        "differences": (
            f"Every seed's difference to {analysis['reference']}, with means and 95 % intervals. "
            + "; ".join(f"{c['arm']}: {report.mean_and_interval(c)}" for c in analysis["comparisons"])
            + ".",
            f"Differences to {analysis['reference']}, paired by seed.",
        ),
    }
    return [figures.of_figure(figure, *told[name]) for name, figure in drawn.items()]


def costs(collection: Collection, seeds: Seeds | InputError) -> Section:
    """What a training step of each arm costs, and how fast the runs went."""
    first = {name: runs[0] for name, runs in collection.by_arm.items()}
    known = {arm: cost for run in first.values() for arm, cost in results.costs(run.workdir, [run.config.arm]).items()}
    if collection.root is not None:
        known |= results.costs(collection.root, list(first))
    try:
        blocks = [] if isinstance(seeds, InputError) else list(report.arms(seeds.analysis, known).blocks)
    except (KeyError, TypeError, ValueError) as error:
        known, blocks = {}, [Text(f"What was measured of a step's cost cannot be read ({error}).")]
    if without := [run for arm, run in first.items() if arm not in known]:
        listed = ", ".join(run.config.arm for run in without)
        lines = "\n".join(commands.costs(run, collection.root or run.workdir) for run in without)
        blocks += [Text(f"No step's cost measured yet of {listed}:"), Code(lines)]
    return Section("Costs", [*blocks, *_pace(collection)])


def _pace(collection: Collection) -> list[Table]:
    """What the runs themselves noted, if anything."""
    rows = []
    for run in collection.runs:
        rates = [row["images_per_second"] for row in run.metrics if "images_per_second" in row]
        seconds = [record.record.get("seconds") for record in run.newest]
        took = [f"{value:,.0f}" for value in seconds if isinstance(value, int | float)]
        rate = f"{np.median(rates):,.1f}" if rates else UNKNOWN
        if rates or took:
            rows.append([run.title, rate, ", ".join(took) or UNKNOWN, _device(run)])
    heads = ["run", "images a second", "seconds to evaluate", "device"]
    caption = "Pace: the median over the log, and each evaluation at the last step"
    return [Table(heads, rows, caption)] if rows else []


def _device(run: collect.Run) -> str:
    """The device of the last evaluations."""
    return ", ".join(dict.fromkeys(record.record["device"] for record in run.newest)) or UNKNOWN
