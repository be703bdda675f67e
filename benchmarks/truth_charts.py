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
    """The figures, by the names of the pictures, for which `measured` has results."""
    parts = {title: rows(measured[name][0]) for name, title in WORLDS.items() if name in measured}
    made = {"regret-parts": by_part(parts)} if parts else {}
    if "known-truth-flops" in measured:
        chart = by_flops(measured["known-truth-flops"])
        made["regret-flops"] = draw(chart, chart.caption)
    return made


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
    """The regret of each arm by the FLOPs of its training, with a power law through the best."""
    curves, table = [], [row for step in steps for row in rows(step)]
    for arm in dict.fromkeys(row[""].split()[0] for row in table):
        own = [row for row in table if row[""].startswith(f"{arm} ")]
        points = [(float(row["TFLOP"]), float(row["mean"]) - float(row["mean regret"]), *seeds(row)) for row in own]
        cost, entropy, *bits = np.transpose(sorted(points))
        regret = np.transpose(bits - entropy)
        mean, name = regret.mean(axis=1), arm.strip("`")
        curves.append(Curve(name, [*cost], [*mean], [*regret.min(axis=1)], [*regret.max(axis=1)]))
        best = mean <= np.minimum.accumulate(mean)
        exponents, logs = np.polyfit(np.log(cost[best]), np.log(regret[best]), 1)
        law = f"{name}: proportional to FLOPs to the power {with_error(*mean_and_error(exponents))}"
        fitted = np.exp(logs.mean() + exponents.mean() * np.log(cost[best]))
        curves.append(Curve(law, [*cost[best]], [*fitted], dashed=True))
    panel = Panel("regret, bits/dim", curves, logarithmic=True)
    about = "Three widths by three lengths of training. Bars: from the lowest to the highest of three seeds"
    return Chart("Bits/dim above the truth by the cost of the training", "TFLOP", [panel], about, True, bars=True)
