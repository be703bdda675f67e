"""Figures of an analysis, and curves of training. Arms differ in colours, markers and lines, in every figure alike."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from diffenc_jax.evaluation.means import mean_of
from diffenc_jax.lab.figures.style import (
    COLUMN,
    PAGE,
    add_interval,
    arm_style,
    limits,
    literal,
    marker_step,
    new_figure,
    run_styles,
    style,
    wrapped,
)
from diffenc_jax.lab.studies.significance.analysis import FEWEST_SEEDS, Analysis, Arm, Comparison
from diffenc_jax.lab.studies.significance.curves import Curves, Points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Markers of a seed's value and of a mean.
SEED = {"linestyle": "", "alpha": 0.7, "markersize": 4, "zorder": 2}
MEAN = {"linestyle": "", "markersize": 7, "zorder": 3}
SIDE = 0.22  # distance of the seeds' markers from the tick of their arm, which the mean and its interval have
SEEDS = "Small markers: one seed each. Large markers: mean over seeds"
INTERVALS = ", bars: its 95 % t interval (arrow: the interval goes on)"

LEGEND = 4  # columns of the legend of curves
LINE = 0.13  # inches that a line of a label takes
TIMES = {"hours": 3600, "minutes": 60}  # units in seconds


class Panel(NamedTuple):
    """Title and value axis of a panel of curves, and whether they are against seconds instead of steps."""

    title: str
    unit: str = "bits/dim"
    by_time: bool = False


def learning_panels(split: str) -> dict[str, Panel]:
    """Panels of `learning_curves`: training and evaluation, which are of different parameters, by step and by time."""
    titles = {
        "training": "training loss (parameters of each step, no EMA)",
        "evaluation": f"evaluation on {split} (EMA parameters)",
    }
    by_step = {kind: Panel(title) for kind, title in titles.items()}
    return by_step | {f"{kind} by time": Panel(title, by_time=True) for kind, title in titles.items()}


def panels_with_lines(panels: Mapping[str, Panel], curves: Curves) -> Mapping[str, Panel]:
    """The panels in which a curve has more than one point; all of them if there are none."""
    shown = {kind: panel for kind, panel in panels.items() if any(len(kinds[kind]) > 1 for kinds in curves.values())}
    return shown or panels


@style()
def draw_analysis(analysis: Analysis, data: str) -> "dict[str, Figure]":
    """'values' by arm, and 'differences' to the reference over enough seeds; `data` names the images in the titles."""
    drawn = {"values": _draw_values(analysis.arms, data)}
    if comparisons := [c for c in analysis.comparisons if c.n >= FEWEST_SEEDS]:
        drawn["differences"] = _draw_differences(comparisons, analysis.reference, data)
    return drawn


def _draw_values(arms: Mapping[str, Arm], data: str) -> "Figure":
    """Bits/dim by arm: a marker per run, lines that join the runs of a seed, and the mean with its interval."""
    width = min(max(COLUMN, 0.9 + 0.8 * len(arms)), PAGE)
    intervals = [arm.interval for arm in arms.values() if arm.interval and arm.n >= FEWEST_SEEDS]
    names = [wrapped(literal(name), (width - 0.8) / len(arms)) for name in arms]
    height = 3.1 + LINE * _lines(names)
    figure, axes = new_figure(width, height, literal(data), f"{_legend(intervals)} Grey lines join the runs of a seed.")
    axes.set_ylim(*limits([value for arm in arms.values() for value in arm.bpd.values()], intervals))
    for seed in sorted({seed for arm in arms.values() for seed in arm.bpd}):
        points = [(i - SIDE, arm.bpd[seed]) for i, arm in enumerate(arms.values()) if seed in arm.bpd]
        axes.plot(*zip(*points, strict=True), color="0.75", linewidth=0.8, zorder=1)
    for i, (name, arm) in enumerate(arms.items()):
        look = arm_style(name)
        axes.plot([i - SIDE] * len(arm.bpd), list(arm.bpd.values()), **look | SEED)
        if arm.interval and arm.n >= FEWEST_SEEDS:
            add_interval(axes, i, arm.interval, look["color"], vertical=True)
        if arm.mean is not None:
            axes.plot(i, arm.mean, **look | MEAN)
    axes.set_xticks(range(len(arms)), labels=names)
    axes.set(ylabel="bits/dim (lower is better)", xlim=(-0.6, len(arms) - 0.4))
    axes.grid(axis="y")
    return figure


def _legend(intervals: list[Any]) -> str:
    """Explanation of the markers, and of the bars if there are intervals."""
    return f"{SEEDS}{INTERVALS if intervals else ''}."


def _lines(names: list[str]) -> int:
    """Number of lines of the longest of wrapped names."""
    return 1 + max(name.count("\n") for name in names)


def _draw_differences(comparisons: Sequence[Comparison], reference: str, data: str) -> "Figure":
    """Differences to the reference: a marker per seed, and the mean with its interval."""
    intervals = [c.interval for c in comparisons if c.interval]
    title, note = literal(f"{data}: against {reference}"), f"{_legend(intervals)} Paired by seed."
    names = [wrapped(literal(comparison.arm), 1.0) for comparison in comparisons]
    height = 1.7 + max(0.4, LINE * _lines(names)) * len(comparisons)
    figure, axes = new_figure(COLUMN, height, title, note)
    axes.set_xlim(*limits([0, *(value for c in comparisons for value in c.difference.values())], intervals))
    axes.axvline(0, color="black", linewidth=0.8)
    for i, comparison in enumerate(comparisons):
        look = arm_style(comparison.arm)
        axes.plot(list(comparison.difference.values()), [i - SIDE] * comparison.n, **look | SEED)
        if comparison.interval:
            add_interval(axes, i, comparison.interval, look["color"], vertical=False)
        axes.plot(comparison.mean, i, **look | MEAN)
    axes.set_yticks(range(len(comparisons)), labels=names)
    axes.set_xlabel("bits/dim above the reference\n(left of 0: better)")
    axes.locator_params(axis="x", nbins=5)
    axes.set_ylim(len(comparisons) - 0.5, -0.6)
    axes.grid(axis="x")
    return figure


@style()
def draw_curves(
    curves: Curves,
    panels: Mapping[str, Panel],
    columns: int,
    title: str = "",
    common_axis: bool = False,
    arms: Mapping[str, str] | None = None,
) -> "Figure":
    """Figure with a panel per kind of curve: a line per name by step or time, mean over seeds.

    From `FEWEST_SEEDS` seeds on a line has a 95 % band.

    The axes show the values of the last nine tenths of training. Earlier values, which lie far above, and bands may
    leave the panel.

    Args:
      panels: by kind, those by step first; a value axis that repeats the one to its left has no label. Panels without
        a line are left out.
      columns: number of panels side by side.
      common_axis: whether all panels share one value axis, and those of a row the other one.
      arms: the arm of each name; None: the names are arms.
    """
    from matplotlib.ticker import EngFormatter

    panels = panels_with_lines(panels, curves)
    columns = max(1, min(columns, sum(not panel.by_time for panel in panels.values())))
    rows, looks = -(-len(panels) // columns), run_styles([arms[name] if arms else name for name in curves])
    labels = [wrapped(literal(name), PAGE / LEGEND - 0.5) for name in curves]
    below = 0.15 * (1 + max(label.count("\n") for label in labels)) * -(-len(labels) // LEGEND)
    sharex = "row" if common_axis else False
    grid: dict[str, Any] = {"nrows": rows, "ncols": columns, "sharex": sharex, "sharey": common_axis, "squeeze": False}
    figure, all_axes = new_figure(PAGE, 0.4 + below + 2.1 * rows, title, **grid)
    time, second = _unit_of_time(curves, panels)
    for number, (axes, (kind, panel)) in enumerate(zip(all_axes.flat, panels.items(), strict=False)):
        for label, look, kinds in zip(labels, looks, curves.values(), strict=True):
            _draw_line(axes, kinds[kind], label, look, second if panel.by_time else 1)
        axes.set_xlabel(f"{time} of training" if panel.by_time else "training step")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.locator_params(axis="x", nbins=5)
        axes.grid()
        axes.set_title(wrapped(panel.title, PAGE / columns - 0.4, 8))
        limited = panels if common_axis else [kind]
        axes.set_ylim(*limits([value for k in limited for value in _late_values([c[k] for c in curves.values()])]))
        if number % columns == 0 or panel.unit != list(panels.values())[number - 1].unit:
            axes.set_ylabel(panel.unit)
    for axes in all_axes.flat[len(panels) :]:
        axes.set_axis_off()
    lines = [points for kinds in curves.values() for points in kinds.values()]
    seeds = max((len(values) for points in lines for _, values in points), default=0)
    if len(curves) > 1 or seeds > 1:
        head = f"mean over seeds{', bands: 95 % t intervals' if seeds >= FEWEST_SEEDS else ''}" if seeds > 1 else None
        figure.legend(*all_axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=LEGEND, title=head)
    return figure


def _unit_of_time(curves: Curves, panels: Mapping[str, Panel]) -> tuple[str, float]:
    """The unit of time in which the longest training takes at least 2, or 'seconds', and how much of it a second is."""
    by_time = [kind for kind, panel in panels.items() if panel.by_time]
    longest = max((at for kinds in curves.values() for kind in by_time for at, _ in kinds[kind]), default=0)
    return next(((name, 1 / size) for name, size in TIMES.items() if longest >= 2 * size), ("seconds", 1))


def _draw_line(axes, points: Points, label: str, look: dict[str, Any], unit: float) -> None:
    """Draw a line against steps or seconds, multiplied by `unit`: mean over seeds, with a 95 % band over enough."""
    ats, means = [at * unit for at, _ in points], [mean_of(np.array(values)) for _, values in points]
    intervals = [mean.interval for mean in means if mean.interval is not None and mean.n >= FEWEST_SEEDS]
    axes.plot(ats, [mean.mean for mean in means], label=label, markevery=marker_step(len(points)), **look)
    if intervals:
        axes.fill_between(ats, *zip(*intervals, strict=True), color=look["color"], alpha=0.2, linewidth=0)


def _late_values(lines: list[Points]) -> list[float]:
    """Values of the last nine tenths of training."""
    last = max((at for points in lines for at, _ in points), default=0)
    return [value for points in lines for at, seeds in points if at >= last / 10 for value in seeds]
