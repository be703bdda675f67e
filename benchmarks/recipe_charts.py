"""Charts of the results on the fast recipe, as plain data; `results.py` draws them."""

import re
from collections.abc import Sequence
from typing import Any

from diffenc_jax.lab.figures.charts import Chart, Curve, Panel

Step = dict[str, Any]
# Ends of the names of results, by what is trained.
QUALITY = {"8x8 digits, widths 16 to 128": ("", "-widths"), "Fashion-MNIST, up to 16,000 steps": ("-fashion", "-long")}
RECIPES = {"": "default recipe", "-fast": "fast recipe"}
BANDS = "bands: from the lowest to the highest of three seeds"


def charts(measured: dict[str, Sequence[Step]]) -> dict[str, Chart]:
    """The charts of the results, by the names of the pictures."""
    costs = []
    for title, ends in QUALITY.items():
        steps = [step for end in ends for step in measured[f"time-to-quality{end}"]]
        costs.append(Panel("test bits/dim", by_flops(steps), title, from_zero=False))
    rates = Panel("bits/dim", [by_rate(step) for step in measured["recipe-rates"]], from_zero=False)
    minutes = Panel("test bits/dim", by_minutes(measured["fast-minutes"][0]["tables"][-1]), from_zero=False)
    return {
        "fast-recipe": Chart("Bits/dim by the cost of the training", "TFLOP", costs, BANDS, logarithmic=True),
        "fast-rates": Chart("Bits/dim by learning rate", "learning rate", [rates], logarithmic=True),
        "fast-minutes": Chart("Bits/dim of 8x8 digits by minutes of training", "minutes of one CPU core", [minutes]),
    }


def by_minutes(progress: dict[str, Any]) -> list[Curve]:
    """Bits/dim below 2.2 of each arm by minutes of training, from cells like '1.8613 (2.41)' of a table of progress."""
    curves = []
    for arm, *cells in list(zip(progress["heads"], *progress["rows"], strict=True))[1:]:
        points = [map(float, cell.rstrip(")").split(" (")) for cell in cells if cell]
        bits, minutes = zip(*((bits, minutes) for bits, minutes in points if bits < 2.2), strict=True)
        curves.append(Curve(arm, minutes, bits, arm=arm))
    return curves


def by_flops(steps: Sequence[Step]) -> list[Curve]:
    """Bits/dim of `vdm` by the TFLOP of its training, for each recipe."""
    curves = []
    for suffix, label in RECIPES.items():
        own = [row for row in rows(*steps) if row[""] in (f"`vdm{suffix}`", f"`vdm-long{suffix}`")]
        points = sorted((float(row["TFLOP"]), float(row["mean"]), min(seeds(row)), max(seeds(row))) for row in own)
        curves.append(Curve(label, *zip(*points, strict=True)))
    return curves


def by_rate(step: Step) -> Curve:
    """Bits/dim of networks of one size by the learning rate."""
    size = re.search(r"score\.(\w+=\d+)", step["command"])
    points = [(float(row[""].strip("`").rpartition("=")[2]), float(row["mean"])) for row in rows(step)]
    return Curve(size[1] if size else "", *zip(*points, strict=True))


def rows(*steps: Step) -> list[dict[str, str]]:
    """The rows of the first table of each step, by head."""
    tables = [step["tables"][0] for step in steps]
    return [dict(zip(table["heads"], row, strict=True)) for table in tables for row in table["rows"]]


def seeds(row: dict[str, str]) -> list[float]:
    """The values of the seeds."""
    return [float(value) for head, value in row.items() if head.startswith("seed ")]
