"""Figures of an analysis. Arms also differ in markers and line styles, so they are distinct without colour."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from diffenc_jax.display.figures import COLOURS, new_figure
from diffenc_jax.stats.means import mean_of
from diffenc_jax.studies.significance.finished import Curves, Points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Markers of a seed's value and of a mean.
SEED = {"linestyle": "", "alpha": 0.8, "markersize": 5}
MEAN = {"linestyle": "", "markeredgecolor": "black", "markersize": 8}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)))
MAX_MARKERS = 12  # lines with more points have no markers


def draw_analysis(analysis: dict[str, Any], data: str) -> "dict[str, Figure]":
    """'values' by arm, and 'differences' to the reference if there are any; `data` names the images in the titles."""
    names, reference = list(analysis["arms"]), analysis["reference"]
    drawn = {"values": _draw_values(analysis, names, data)}
    if comparisons := [c for c in analysis["comparisons"] if "mean" in c]:
        drawn["differences"] = _draw_differences(comparisons, names, reference, f"{data}: against {reference}")
    return drawn


def _style(names: list[str], name: str) -> dict[str, Any]:
    number = names.index(name)
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def _draw_values(analysis: dict[str, Any], names: list[str], title: str):
    """Bits/dim by arm: a marker per run, lines that join the runs of a seed, and the mean with its interval."""
    figure, axes = new_figure(1.6 + 1.2 * len(names), 4, title)
    arms = analysis["arms"]
    for seed in sorted({int(seed) for arm in arms.values() for seed in arm["bpd"]}):
        points = [(i, arms[name]["bpd"][str(seed)]) for i, name in enumerate(names) if str(seed) in arms[name]["bpd"]]
        axes.plot(*zip(*points, strict=True), color="0.75", linewidth=0.8, zorder=1)
    for i, name in enumerate(names):
        style, values = _style(names, name), list(arms[name]["bpd"].values())
        axes.plot([i] * len(values), values, **SEED, **style)
        if arms[name]["interval"] is not None:
            axes.plot([i + 0.22] * 2, arms[name]["interval"], color=style["color"], linewidth=2)
        if arms[name]["mean"] is not None:
            axes.plot(i + 0.22, arms[name]["mean"], **MEAN, **style)
    axes.set_xticks(range(len(names)), labels=names, rotation=15 if len(names) > 4 else 0)
    axes.set(ylabel="bits/dim", xlim=(-0.4, len(names) - 0.4))
    axes.set_title("small: each seed, lines join the runs of a seed; large: mean, 95 % t interval", fontsize="x-small")
    axes.grid(axis="y", alpha=0.3)
    return figure


def _draw_differences(comparisons: list[dict[str, Any]], names: list[str], reference: str, title: str):
    """Differences to the reference: a marker per seed, and the mean with its interval."""
    figure, axes = new_figure(6.4, 1.6 + 0.6 * len(comparisons), title)
    axes.axvline(0, color="black", linewidth=0.8)
    for i, comparison in enumerate(comparisons):
        style, values = _style(names, comparison["arm"]), list(comparison["difference"].values())
        axes.plot(values, [i] * len(values), **SEED, **style)
        if comparison["interval"] is not None:
            axes.plot(comparison["interval"], [i - 0.25] * 2, color=style["color"], linewidth=2)
        axes.plot(comparison["mean"], i - 0.25, **MEAN, **style)
    axes.set_yticks(range(len(comparisons)), labels=[comparison["arm"] for comparison in comparisons])
    axes.set(xlabel=f"bits/dim above that of {reference} (left of zero: better)", ylim=(len(comparisons) - 0.5, -0.6))
    axes.set_title("small: each seed; large: mean, 95 % t interval", fontsize="x-small")
    axes.grid(axis="x", alpha=0.3)
    return figure


def draw_curves(
    curves: Curves, units: Mapping[str, str], columns: int, title: str = "", common_axis: bool = False
) -> "Figure":
    """Figure with a panel per kind of curve: a line per name against the step, mean over seeds with a 95 % band.

    Args:
      units: label of the value axis by kind; a label that repeats the one to its left is left out.
      columns: number of panels side by side.
      common_axis: whether all panels share one value axis.
    """
    rows, labels = -(-len(units) // columns), list(units.values())
    grid = {"nrows": rows, "ncols": columns, "sharey": common_axis, "squeeze": False}
    figure, panels = new_figure(8, 0.6 + 2.6 * rows, title, **grid)
    for number, (axes, kind) in enumerate(zip(panels.flat, units, strict=False)):
        _draw_lines(axes, {name: kinds[kind] for name, kinds in curves.items()})
        axes.set_title(kind)
        limited = units if common_axis else [kind]
        axes.set_ylim(*_late_limits([point for kinds in curves.values() for k in limited for point in kinds[k]]))
        if number % columns == 0 or labels[number] != labels[number - 1]:
            axes.set_ylabel(labels[number])
    if len(curves) > 1:
        handles = panels[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_lines(axes, lines: dict[str, Points]) -> None:
    """Draw a line per name against the step: mean over seeds with a 95 % band, and markers where points are few."""
    from matplotlib.ticker import EngFormatter

    for number, (name, points) in enumerate(lines.items()):
        steps, means = [step for step, _ in points], [mean_of(np.array(values)) for _, values in points]
        style = _style(list(lines), name)
        marker = style["marker"] if len(points) <= MAX_MARKERS else None
        line = {"linestyle": LINES[number % len(LINES)], "linewidth": 1.3, "color": style["color"]}
        axes.plot(steps, [mean.mean for mean in means], label=name, marker=marker, **line)
        if intervals := [mean.interval for mean in means if mean.interval is not None]:
            axes.fill_between(steps, *zip(*intervals, strict=True), color=style["color"], alpha=0.2, linewidth=0)
    axes.set_xlabel("step")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.locator_params(axis="x", nbins=4)
    axes.grid(alpha=0.3)


def _late_limits(points: Points) -> tuple[float | None, float | None]:
    """Limits of the value axis for the last nine tenths of training; the first steps lie far above."""
    last = max((step for step, _ in points), default=0)
    values = [value for step, seeds in points if step >= last / 10 for value in seeds if math.isfinite(value)]
    margin = 0.05 * (max(values) - min(values)) if values else 0
    return (min(values) - margin, max(values) + margin) if margin else (None, None)
