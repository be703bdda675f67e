"""The figure of a depth study."""

import math
from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.lab.figures.style import (
    BLACK,
    BLUE,
    COLUMN,
    GREEN,
    ORANGE,
    SKY,
    VERMILLION,
    limits,
    literal,
    new_figure,
    style,
    wrapped,
)
from diffenc_jax.lab.studies.depth.table import CHOICES
from diffenc_jax.lab.studies.outputs import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = ((BLACK, "o"), (ORANGE, "s"), (SKY, "^"), (GREEN, "v"), (VERMILLION, "D"), (BLUE, "P"))
RATIO_LOOKS = dict(zip(dict.fromkeys(choice.ratio for choice in CHOICES.values()), LOOKS, strict=True))
LINES = {"uniform": "--", "optimal": "-"}
# Colour and marker of each ratio, and the line of each kind of times; choices of steps are no arms.
STYLES = {
    name: dict(zip(("color", "marker", "linestyle"), (*RATIO_LOOKS[ratio], LINES[times]), strict=True))
    for name, (times, ratio) in CHOICES.items()
}
# Ratio of the values from which their axis is logarithmic, and least distance of labels as part of the axis of depths.
DECADE, APART = 10, 0.08
MEANINGS = (
    r"ratio $\sigma_Q^2/\sigma_P^2$ of the variance of the path to the model's in a step, with uniform times or with "
    "the best (+times); bars: ±2 standard errors over images and noise, paired by image with infinite depth"
)


@style()
def draw_excess(rows: Rows, title: str) -> "Figure":
    """Excess over infinite depth against depth, a line per choice of steps, with bars of two standard errors."""
    names = list(dict.fromkeys(row["choice"] for row in rows if row["choice"]))
    figure, axes = new_figure(COLUMN, 3.4 + 0.15 * -(-len(names) // 2), literal(title))
    for name in names:
        chosen, look = [row for row in rows if row["choice"] == name], STYLES[name]
        columns = ([row[key] for row in chosen] for key in ("depth", "excess", "excess_se"))
        depth, excess, error = (np.array(column, float) for column in columns)  # an unknown error is NaN and has no bar
        axes.errorbar(depth, excess, 2 * error, label=name, **look)
    excess, error = np.array([(row["excess"], row["excess_se"] or 0.0) for row in rows if row["choice"]]).T
    ends = np.concatenate([excess - 2 * error, excess + 2 * error])
    if (ends > 0).all() and ends.max() > DECADE * ends.min():
        axes.set(yscale="log", ylim=np.exp(limits(np.log(ends))))
    else:  # also for an excess within its error, which has no logarithm
        axes.set_ylim(*limits(ends))
    axes.set(xscale="log", xlabel="depth $T$ (steps)", ylabel="bits/dim above infinite depth")
    depths = sorted({row["depth"] for row in rows if row["choice"]})
    axes.set_xticks(depths, labels=_labels(depths))
    axes.xaxis.minorticks_off()
    axes.grid()
    # Below the axes, where it hides no line.
    handles = axes.get_legend_handles_labels()
    narrow = {"handlelength": 2.0, "handletextpad": 0.5, "columnspacing": 1.0}
    figure.legend(*handles, loc="outside lower center", ncols=2, title=wrapped(MEANINGS, COLUMN - 0.2), **narrow)
    return figure


def _labels(depths: list[int]) -> list[str]:
    """Labels of the depths on a logarithmic axis; none where it would overlap the one before it."""
    labels, last = [], 0.0
    for depth in depths:
        far = not last or math.log(depth / last) >= APART * math.log(depths[-1] / depths[0])
        labels.append(str(depth) if far else "")
        last = depth if far else last
    return labels
