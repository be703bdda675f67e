"""Figures of an analysis, and curves of training. Arms differ in colours, markers and lines, in every figure alike."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from diffenc_jax.evaluation.means import mean_of
from diffenc_jax.lab.figures import style
from diffenc_jax.lab.studies.significance.analysis import FEWEST_SEEDS, Analysis, OverSeeds
from diffenc_jax.lab.studies.significance.curves import Curves, Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Markers of a seed's value and of a mean.
SEED = {"linestyle": "", "alpha": 0.7, "markersize": 4, "zorder": 2}
MEAN = {"linestyle": "", "markersize": 7, "zorder": 3}
SIDE = 0.22  # distance of the seeds' markers from the tick of their arm, which the mean and its interval have
NOTE = "Small markers: one seed each. Large markers: mean over seeds, bars: its 95 % t interval (arrow: it goes on)."
LEGEND = 4  # columns of the legend of curves
LINE = 0.13  # inches that a line of a label takes


class Panel(NamedTuple):
    """Title and value axis of a panel of curves."""

    title: str
    unit: str = "bits/dim"


def learning_panels(split: str) -> dict[str, Panel]:
    """Panels of `learning_curves`: training and evaluation, which are of different parameters."""
    return {
        "training": Panel("training loss (parameters of each step, no EMA)"),
        "evaluation": Panel(f"evaluation on {split} (EMA parameters)"),
    }


@style.style()
def draw_analysis(analysis: Analysis, data: str) -> "Figure":
    """Bits/dim by arm, and differences to the reference over enough seeds; `data` names the images in the title."""
    arms, compared = analysis.arms, {c.arm: c for c in analysis.comparisons if c.n >= FEWEST_SEEDS}
    names = [style.wrapped(style.literal(name), 1.0) for name in arms]
    height = 1.4 + max(0.4, LINE * (1 + max(name.count("\n") for name in names))) * len(arms)
    grid: dict[str, Any] = {"ncols": 1 + bool(compared), "sharey": True, "squeeze": False}
    figure, axes = style.new_figure(style.PAGE if compared else style.COLUMN, height, style.literal(data), NOTE, **grid)
    first, *others = axes[0]
    _draw_means(first, list(arms), {name: list(arm.bpd.values()) for name, arm in arms.items()}, arms)
    first.set(xlabel="bits/dim (lower is better)", ylim=(len(arms) - 0.5, -0.6))
    first.set_yticks(range(len(arms)), labels=names)
    differences = {name: list(c.difference.values()) for name, c in compared.items()}
    for second in others:
        _draw_means(second, list(arms), differences, compared, [0.0])
        label = style.literal(f"difference to {analysis.reference}, paired by seed")
        second.set_xlabel(style.wrapped(label, style.PAGE / 2 - 0.6, 8))
        second.axvline(0, color="black", linewidth=0.8)
    return figure


def _draw_means(
    axes: "Axes",
    arms: Sequence[str],
    values: Mapping[str, Sequence[float]],
    means: Mapping[str, OverSeeds],
    also: Sequence[float] = (),
) -> None:
    """Draw a row per arm that has values: a marker per seed, and their mean with its interval over enough seeds.

    The axis shows the values `also`, too.
    """
    intervals = {arm: m.interval for arm, m in means.items() if m.interval and m.n >= FEWEST_SEEDS}
    axes.set_xlim(*style.limits([*also, *(one for of_arm in values.values() for one in of_arm)], intervals.values()))
    for i, arm in enumerate(arms):
        if arm in values:
            look = style.arm_style(arm)
            axes.plot(values[arm], [i - SIDE] * len(values[arm]), **look | SEED)
            if arm in intervals:
                style.add_interval(axes, i, intervals[arm], look["color"])
            if (mean := means[arm].mean) is not None:
                axes.plot(mean, i, **look | MEAN)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x")


@style.style()
def draw_curves(
    curves: Curves,
    panels: Mapping[str, Panel],
    columns: int,
    title: str = "",
    common_axis: bool = False,
    arms: Mapping[str, str] | None = None,
) -> "Figure":
    """Figure with a panel per kind of curve: a line per name by step, mean over seeds.

    From `FEWEST_SEEDS` seeds on a line has a 95 % band. The axes show the values of the last nine tenths of training;
    earlier values, which lie far above, and bands may leave the panel.

    Args:
      panels: by kind. Panels without a line are left out.
      columns: number of panels side by side.
      common_axis: whether all panels share one value axis.
      arms: the arm of each name; None: the names are arms.
    """
    from matplotlib.ticker import EngFormatter

    panels = {k: panel for k, panel in panels.items() if any(len(c[k]) > 1 for c in curves.values())} or panels
    columns = min(columns, len(panels))
    rows, looks = -(-len(panels) // columns), style.run_styles([arms[name] if arms else name for name in curves])
    labels = [style.wrapped(style.literal(name), style.PAGE / LEGEND - 0.5) for name in curves]
    below = 0.15 * (1 + max(label.count("\n") for label in labels)) * -(-len(labels) // LEGEND)
    grid: dict[str, Any] = {"nrows": rows, "ncols": columns, "sharey": common_axis, "squeeze": False}
    figure, all_axes = style.new_figure(style.PAGE, 0.4 + below + 2.1 * rows, title, **grid)
    for axes, (kind, panel) in zip(all_axes.flat, panels.items(), strict=False):
        for label, look, kinds in zip(labels, looks, curves.values(), strict=True):
            _draw_line(axes, kinds[kind], label, look)
        axes.set(xlabel="training step", ylabel=panel.unit)
        axes.set_title(style.wrapped(panel.title, style.PAGE / columns - 0.4, 8))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.locator_params(axis="x", nbins=5)
        axes.grid()
        shown = panels if common_axis else [kind]
        axes.set_ylim(*style.limits([value for k in shown for value in _late_values([c[k] for c in curves.values()])]))
    for axes in all_axes.flat[len(panels) :]:
        axes.set_axis_off()
    seeds = max((len(v) for kinds in curves.values() for points in kinds.values() for _, v in points), default=0)
    if len(curves) > 1 or seeds > 1:
        head = f"mean over seeds{', bands: 95 % t intervals' * (seeds >= FEWEST_SEEDS)}" if seeds > 1 else None
        figure.legend(*all_axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=LEGEND, title=head)
    return figure


def _draw_line(axes: "Axes", points: Points, label: str, look: dict[str, Any]) -> None:
    """Draw a line against steps: mean over seeds, with a 95 % band over enough of them."""
    steps, means = [step for step, _ in points], [mean_of(np.array(values)) for _, values in points]
    intervals = [mean.interval for mean in means if mean.interval is not None and mean.n >= FEWEST_SEEDS]
    axes.plot(steps, [mean.mean for mean in means], label=label, markevery=style.marker_step(len(points)), **look)
    if intervals:
        low, high = zip(*intervals, strict=True)
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.2, linewidth=0)


def _late_values(lines: list[Points]) -> list[float]:
    """Values of the last nine tenths of training."""
    last = max((step for points in lines for step, _ in points), default=0)
    return [value for points in lines for step, seeds in points if step >= last / 10 for value in seeds]
