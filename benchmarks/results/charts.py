"""Pictures of results."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from result import Result

from diffenc_jax.core.document import Table
from diffenc_jax.core.numbers import Figure, with_error
from diffenc_jax.evaluation.uncertainty import mean_and_error
from diffenc_jax.lab.figures.charts import Chart, Curve, Panel, draw
from diffenc_jax.lab.figures.style import COLOURS, PAGE, SMALL, new_figure, style

Rows = list[dict[str, Any]]  # of a table: cells by head
# Ends of the names of results, by what is trained.
QUALITY = {"8x8 digits, widths 16 to 128": ("", "-widths"), "Fashion-MNIST, up to 16,000 steps": ("-fashion", "-long")}
RECIPES = {"": "default recipe", "-fast": "fast recipe"}
BANDS = "bands: from the lowest to the highest of three seeds"
WORLDS = {f"{world}-{side}-parts": f"{world}:{side}" for world in ("ising", "mesh") for side in (8, 16)}
PARTS = "end terms", "drift", "rest"


def figures(results: Mapping[str, Result]) -> dict[str, Any]:
    """The figures of the results, by the names of the pictures."""
    costs = []
    for title, ends in QUALITY.items():
        tables = [table for end in ends for table in results[f"time-to-quality{end}"].tables]
        costs.append(Panel("test bits/dim", by_flops(rows(tables)), title, from_zero=False))
    rates = Panel("bits/dim", by_rate(results["recipe-rates"]), from_zero=False)
    minutes = Panel("test bits/dim", by_minutes(results["fast-minutes"].tables[-1]), from_zero=False)
    charts = {
        "fast-recipe": Chart("Bits/dim by the cost of the training", "TFLOP", costs, BANDS, logarithmic=True),
        "fast-rates": Chart("Bits/dim by learning rate", "learning rate", [rates], logarithmic=True),
        "fast-minutes": Chart("Bits/dim of 8x8 digits by minutes of training", "minutes of one CPU core", [minutes]),
        "regret-flops": regrets_by_flops(results["known-truth-flops"]),
    }
    parts = {title: rows(results[name].tables[:1]) for name, title in WORLDS.items()}
    return {name: draw(chart, chart.caption) for name, chart in charts.items()} | {"regret-parts": by_part(parts)}


def rows(tables: Sequence[Table]) -> Rows:
    """The rows of tables."""
    return [dict(zip(table.heads, row, strict=True)) for table in tables for row in table.rows]


def number(cell: Any) -> float:
    """The first number of a cell; 0 for a text."""
    return cell.values[0] if isinstance(cell, Figure) else float(cell) if isinstance(cell, int) else 0.0


def seeds(row: Mapping[str, Any]) -> list[float]:
    """The values of the seeds."""
    return [number(cell) for head, cell in row.items() if head.startswith("seed ")]


def by_minutes(progress: Table) -> list[Curve]:
    """Bits/dim below 2.2 of each arm by minutes of training."""
    curves = []
    for arm, *cells in list(zip(progress.heads, *progress.rows, strict=True))[1:]:
        points = [cell.values for cell in cells if isinstance(cell, Figure) and cell.values[0] < 2.2]
        bits, minutes = zip(*points, strict=True)
        curves.append(Curve(arm, minutes, bits, arm=arm))
    return curves


def by_flops(table: Rows) -> list[Curve]:
    """Bits/dim of `vdm` by the TFLOP of its training, for each recipe."""
    curves = []
    for suffix, label in RECIPES.items():
        own = [row for row in table if row[""] in (f"`vdm{suffix}`", f"`vdm-long{suffix}`")]
        points = sorted((number(row["TFLOP"]), number(row["mean"]), min(seeds(row)), max(seeds(row))) for row in own)
        curves.append(Curve(label, *zip(*points, strict=True)))
    return curves


def by_rate(result: Result) -> list[Curve]:
    """Bits/dim of networks of several sizes by the learning rate: a size for each command, a rate for each arm."""
    curves = []
    for step, table in zip(result.steps, result.tables, strict=True):
        size = re.findall(r"score\.(\w+=\d+)", step.command)[0]
        rates = map(float, re.findall(r"learning_rate=([\d.]+)", step.command))
        curves.append(Curve(size, [*rates], [number(row[table.heads.index("mean")]) for row in table.rows]))
    return curves


@style()
def by_part(tables: Mapping[str, Rows]) -> Any:
    """The regrets of the arms of each world, as bars of their parts."""
    title, lines = "Bits/dim above the truth, and where they come from", -(-len(tables) // 2)
    shape = {"nrows": lines, "ncols": 2, "sharex": "row", "sharey": True, "squeeze": False}
    figure, grid = new_figure(PAGE, 0.8 + 1.6 * lines, title, **shape)
    for axes, (name, table) in zip(grid.flat, tables.items(), strict=False):
        left = np.zeros(len(table))
        for part, colour in zip(PARTS, COLOURS, strict=False):
            widths = np.array([number(row[part]) for row in table])
            axes.barh([row[""] for row in table], widths, left=left, color=colour, label=part)
            left += widths
        axes.set_title(name, fontsize=SMALL)
    grid[0, 0].invert_yaxis()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(PARTS))
    return figure


def regrets_by_flops(result: Result) -> Chart:
    """The regret of each arm by the FLOPs of its training, a line per width, with a power law for all trainings."""
    curves, table = [], rows(result.tables)
    truth = np.mean([number(row["mean"]) - number(row["mean regret"]) for row in table])
    for arm in dict.fromkeys(row[""].split()[0] for row in table):
        own = [row for row in table if row[""].startswith(f"{arm} ")]
        cost, taken = (np.array([number(row[head]) for row in own]) for head in ("TFLOP", "steps"))
        regrets = np.array([seeds(row) for row in own]) - truth
        factors = np.stack([np.ones(len(own)), np.log(taken), np.log(cost / taken)], axis=1)
        _, *exponents = np.linalg.lstsq(factors, np.log(regrets))[0]
        by_steps, by_size = (with_error(*mean_and_error(exponent)) for exponent in exponents)
        law = f"{arm.strip('`')}: steps to the power {by_steps}, times FLOPs per step to the power {by_size}"
        for line in np.split(np.arange(len(own)), len(result.steps)):
            means, lowest, highest = (of(regrets[line], axis=1) for of in (np.mean, np.min, np.max))
            curves.append(Curve(law, [*cost[line]], [*means], [*lowest], [*highest]))
    panel = Panel("regret, bits/dim", curves, logarithmic=True)
    about = "A line per model and width. Bars: from the lowest to the highest of three seeds"
    return Chart("Bits/dim above the truth by the cost of the training", "TFLOP", [panel], about, True, bars=True)
