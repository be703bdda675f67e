"""Charts of the regrets on data with a known truth; `results.py` draws them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from recipe_charts import Step, rows, seeds

from diffenc_jax.core.numbers import UNKNOWN, with_error
from diffenc_jax.evaluation.uncertainty import mean_and_error
from diffenc_jax.lab.figures.charts import Chart, Curve, Panel, draw
from diffenc_jax.lab.figures.style import COLOURS, PAGE, SMALL, new_figure, style

WORLDS = {f"{world}-{side}-parts": f"{world}:{side}" for world in ("ising", "mesh") for side in (8, 16)}
PARTS = "end terms", "drift", "rest"


def figures(measured: dict[str, Sequence[Step]]) -> dict[str, Any]:
    """The figures, by the names of the pictures."""
    parts = {title: rows(measured[name][0]) for name, title in WORLDS.items()}
    chart = by_flops(measured["known-truth-flops"])
    return {"regret-flops": draw(chart, chart.caption), "regret-parts": by_part(parts)}


@style()
def by_part(tables: dict[str, list[dict[str, str]]]) -> Any:
    """The regrets of the arms of each world, as bars of their parts."""
    title, lines = "Bits/dim above the truth, and where they come from", -(-len(tables) // 2)
    shape = {"nrows": lines, "ncols": 2, "sharex": "row", "sharey": True, "squeeze": False}
    figure, grid = new_figure(PAGE, 0.8 + 1.6 * lines, title, **shape)
    for axes, (name, table) in zip(grid.flat, tables.items(), strict=False):
        left = np.zeros(len(table))
        for part, colour in zip(PARTS, COLOURS, strict=False):
            widths = np.array([float(row[part].replace(UNKNOWN, "0")) for row in table])
            axes.barh([row[""] for row in table], widths, left=left, color=colour, label=part)
            left += widths
        axes.set_title(name, fontsize=SMALL)
    grid[0, 0].invert_yaxis()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(PARTS))
    return figure


def by_flops(steps: Sequence[Step]) -> Chart:
    """The regret of each arm by the FLOPs of its training, a line per width, with a power law for all trainings."""
    curves, table = [], rows(*steps)
    truth = np.mean([float(row["mean"]) - float(row["mean regret"]) for row in table])
    for arm in dict.fromkeys(row[""].split()[0] for row in table):
        own = [row for row in table if row[""].startswith(f"{arm} ")]
        cost = np.array([float(row["TFLOP"]) for row in own])
        taken = np.array([float(row["steps"].replace(",", "")) for row in own])
        regrets = np.array([seeds(row) for row in own]) - truth
        factors = np.stack([np.ones(len(own)), np.log(taken), np.log(cost / taken)], axis=1)
        _, *exponents = np.linalg.lstsq(factors, np.log(regrets))[0]
        by_steps, by_size = (with_error(*mean_and_error(exponent)) for exponent in exponents)
        law = f"{arm.strip('`')}: steps to the power {by_steps}, times FLOPs per step to the power {by_size}"
        for line in np.split(np.arange(len(own)), len(steps)):
            means, lowest, highest = (of(regrets[line], axis=1) for of in (np.mean, np.min, np.max))
            curves.append(Curve(law, [*cost[line]], [*means], [*lowest], [*highest]))
    panel = Panel("regret, bits/dim", curves, logarithmic=True)
    about = "A line per model and width. Bars: from the lowest to the highest of three seeds"
    return Chart("Bits/dim above the truth by the cost of the training", "TFLOP", [panel], about, True, bars=True)
