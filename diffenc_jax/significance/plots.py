"""Figures of an analysis: colours that the colour-blind tell apart, markers and lines that print in grey does."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffenc_jax import stats
from diffenc_jax.palette import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)))
FORMATS, DPI = (".png", ".pdf"), 200

# (step, the value of each seed).
Points = list[tuple[int, list[float]]]
# By arm, or whatever the lines are called, and kind.
Curves = dict[str, dict[str, Points]]


def write(figures: "dict[str, Figure]", root: Path) -> list[Path]:
    """Writes each as NAME.png and NAME.pdf; returns the .png that there are."""
    for name, figure in figures.items():
        for suffix in FORMATS:
            figure.savefig(root / f"{name}{suffix}", dpi=DPI)
    return [root / f"{name}.png" for name in figures]


def draw(analysis: dict[str, Any], data: str) -> "dict[str, Figure]":
    """'values' by arm, and 'differences' to the reference where there are any.

    Args:
      data: what the images are called, for the titles.
    """
    names, reference = list(analysis["arms"]), analysis["reference"]
    drawn = {"values": _values(analysis, names, data)}
    if comparisons := [c for c in analysis["comparisons"] if "mean" in c]:
        drawn["differences"] = _differences(comparisons, names, reference, f"{data}: against {reference}")
    return drawn


def _style(names: list[str], name: str) -> dict[str, Any]:
    number = names.index(name)
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def _figure(width: float, height: float, title: str, **grid: Any):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    return figure, figure.subplots(**grid)


def _values(analysis: dict[str, Any], names: list[str], title: str):
    """Bits/dim by arm: a marker for every seed, those of one seed joined by a line, and the mean with its interval."""
    figure, axes = _figure(1.6 + 1.2 * len(names), 4, title)
    arms = analysis["arms"]
    for seed in sorted({int(seed) for arm in arms.values() for seed in arm["bpd"]}):
        points = [(i, arms[name]["bpd"][str(seed)]) for i, name in enumerate(names) if str(seed) in arms[name]["bpd"]]
        axes.plot(*zip(*points, strict=True), color="0.75", linewidth=0.8, zorder=1)
    for i, name in enumerate(names):
        values = list(arms[name]["bpd"].values())
        axes.plot([i] * len(values), values, linestyle="", alpha=0.8, markersize=5, **_style(names, name))
        _mean_with_interval(axes, i + 0.22, arms[name], names, name)
    axes.set_xticks(range(len(names)), labels=names, rotation=15 if len(names) > 4 else 0)
    axes.set(ylabel="bits/dim", xlim=(-0.4, len(names) - 0.4))
    axes.set_title("small: every seed, lines join one seed's runs; large: mean, 95 % t interval", fontsize="x-small")
    axes.grid(axis="y", alpha=0.3)
    return figure


def _differences(comparisons: list[dict[str, Any]], names: list[str], reference: str, title: str):
    """Differences to the reference: a marker for every seed, and the mean with its interval."""
    figure, axes = _figure(6.4, 1.6 + 0.6 * len(comparisons), title)
    axes.axvline(0, color="black", linewidth=0.8)
    for i, comparison in enumerate(comparisons):
        style, values = _style(names, comparison["arm"]), list(comparison["difference"].values())
        axes.plot(values, [i] * len(values), linestyle="", alpha=0.8, markersize=5, **style)
        if comparison["interval"] is not None:
            low, high = comparison["interval"]
            axes.plot([low, high], [i - 0.25] * 2, color=style["color"], linewidth=2)
        axes.plot(comparison["mean"], i - 0.25, markersize=8, markeredgecolor="black", linestyle="", **style)
    axes.set_yticks(range(len(comparisons)), labels=[comparison["arm"] for comparison in comparisons])
    axes.set(xlabel=f"bits/dim above that of {reference} (left of zero: better)", ylim=(len(comparisons) - 0.5, -0.6))
    axes.set_title("small: every seed; large: mean, 95 % t interval", fontsize="x-small")
    axes.grid(axis="x", alpha=0.3)
    return figure


def learning(curves: Curves) -> "Figure":
    """Bits/dim by step, mean over seeds with a 95 % band: while training, and in the evaluations on the way."""
    figure, panels = _figure(8, 4, "bits/dim on the way", ncols=2, sharey=True)
    for axes, kind in zip(panels, ("training", "evaluation"), strict=True):
        lines(axes, curves, kind, marked=kind == "evaluation")
    bands = any(len(seeds) > 1 for kinds in curves.values() for points in kinds.values() for _, seeds in points)
    panels[0].set_ylabel("bits/dim (mean, 95 % band over seeds)" if bands else "bits/dim")
    panels[0].legend(frameon=False)
    panels[0].set_ylim(*late(curves))
    return figure


def lines(axes, curves: Curves, kind: str, marked: bool) -> None:
    """A line a name, mean over seeds with a 95 % band, against the step."""
    from matplotlib.ticker import EngFormatter

    for name in curves:
        if points := curves[name][kind]:
            _band(axes, points, list(curves), name, marked)
    axes.set(xlabel="step", title=kind)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.locator_params(axis="x", nbins=4)
    axes.grid(alpha=0.3)


def _band(axes, points: Points, names: list[str], name: str, marked: bool) -> None:
    steps = [step for step, _ in points]
    summaries = [stats.mean_of(np.array(values)) for _, values in points]
    style = _style(names, name) if marked else {"color": _style(names, name)["color"]}
    axes.plot(
        steps,
        [s.mean for s in summaries],
        linestyle=LINES[names.index(name) % len(LINES)],
        linewidth=1.3,
        label=name,
        **style,
    )
    if all(summary.interval is not None for summary in summaries):
        low, high = zip(*(summary.interval for summary in summaries), strict=True)
        axes.fill_between(steps, low, high, color=style["color"], alpha=0.2, linewidth=0)


def late(curves: Curves) -> tuple[float | None, float | None]:
    """Limits that show the last nine tenths of training, and a margin; the first steps are far above."""
    points = [point for kinds in curves.values() for kind in kinds.values() for point in kind]
    last = max((step for step, _ in points), default=0)
    values = [value for step, seeds in points if step >= last / 10 for value in seeds if math.isfinite(value)]
    margin = 0.05 * (max(values) - min(values)) if values else 0
    return (min(values) - margin, max(values) + margin) if margin else (None, None)


def _mean_with_interval(axes, x: float, arm: dict[str, Any], names: list[str], name: str) -> None:
    style = _style(names, name)
    if arm["interval"] is not None:
        axes.plot([x, x], arm["interval"], color=style["color"], linewidth=2)
    axes.plot(x, arm["mean"], markersize=8, markeredgecolor="black", linestyle="", **style)
