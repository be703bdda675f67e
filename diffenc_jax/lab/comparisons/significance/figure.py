"""Figures of an analysis, and curves of training. An arm has the same colour, marker and line in every figure."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diffenc_jax.lab.comparisons.significance.analysis import FEWEST_SEEDS, Analysis, Curves, Points, means_of
from diffenc_jax.lab.figures import charts, style
from diffenc_jax.lab.stats.means import Mean, mean_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Markers of a seed's value and of a mean.
SEED = {"linestyle": "", "alpha": 0.7, "markersize": 4, "zorder": 2}
MEAN = {"linestyle": "", "markersize": 7, "zorder": 3}
SIDE = 0.22  # distance of the seeds' markers from the tick of their arm, which the mean and its interval have
TRUTH: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": ":"}
NOTE = "Small markers: one seed each. Large markers: mean over seeds, bars: its 95 % t interval."
LINE = 0.13  # inches that a line of a label takes
# Kinds of curves whose means can be negative for real numbers, whose densities have no upper bound.
SIGNED = ("training", "evaluation", "reconstruction")


def learning_panels(split: str) -> dict[str, tuple[str, str]]:
    """Panels of `learning_curves`: training (current parameters) and evaluation (averaged parameters)."""
    return {
        "training": ("training loss (parameters of each step, no EMA)", "bits/dim"),
        "evaluation": (f"evaluation on {split} (EMA parameters)", "bits/dim"),
    }


@style.style()
def draw_analysis(analysis: Analysis, data: str, is_real: bool = False) -> "Figure":
    """Bits/dim by arm, and differences to the reference over enough seeds.

    Args:
      data: name of the images, for the title.
      is_real: whether the data are real numbers. Bits/dim of images are shown from zero on, if intervals extend below.
    """
    arms, compared = analysis.arms, {c.arm: c for c in analysis.comparisons if c.n >= FEWEST_SEEDS}
    names = [style.wrapped(style.literal(name), 1.0) for name in arms]
    height = 1.4 + max(0.4, LINE * (1 + max(name.count("\n") for name in names))) * len(arms)
    grid: dict[str, Any] = {"ncols": 1 + bool(compared), "sharey": True, "squeeze": False}
    figure, axes = style.new_figure(style.PAGE if compared else style.COLUMN, height, style.literal(data), NOTE, **grid)
    first, *others = axes[0]
    _draw_means(first, list(arms), {name: (arm.bpd, arm) for name, arm in arms.items()})
    label = "bits/dim (lower is better)"
    if analysis.true_bpd is not None:
        first.axvline(analysis.true_bpd, **TRUTH)
        label = "bits/dim (dotted: the truth)"
    if not is_real:
        first.set_xlim(left=max(0.0, first.get_xlim()[0]))
    first.set(xlabel=label, ylim=(len(arms) - 0.5, -0.6))
    first.set_yticks(range(len(arms)), labels=names)
    for second in others:
        _draw_means(second, list(arms), {name: (c.difference, c) for name, c in compared.items()})
        label = style.literal(f"difference to {analysis.reference}, paired by seed")
        second.set_xlabel(style.wrapped(label, style.PAGE / 2 - 0.6, 8))
        second.axvline(0, color="black", linewidth=0.8)
    return figure


def _draw_means(axes: "Axes", arms: Sequence[str], known: Mapping[str, tuple[dict[int, float], Mean]]) -> None:
    """Draw a row per arm with known values: a marker per seed, and the mean with its interval over enough seeds."""
    for i, arm in enumerate(arms):
        if arm in known:
            (values, over), look = known[arm], style.arm_style(arm)
            axes.plot(list(values.values()), [i - SIDE] * len(values), **look | SEED)
            if over.interval is not None and over.n >= FEWEST_SEEDS:
                axes.plot(over.interval, [i, i], color=look["color"], linewidth=1.6, solid_capstyle="butt")
            if over.mean is not None:
                axes.plot(over.mean, i, **look | MEAN)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x")


def draw_curves(
    curves: Curves,
    panels: Mapping[str, tuple[str, str]],
    title: str = "",
    common_axis: bool = False,
    arms: Mapping[str, str] | None = None,
    true: float | None = None,
    is_real: bool = False,
) -> "Figure":
    """Figure with a panel per kind of curve: a line per name by step, mean over seeds.

    With `FEWEST_SEEDS` seeds or more, a line has a 95 % band, which ends at the least possible value. Lines begin after
    the first tenth of training, in which values are far higher.

    Args:
      panels: title and value axis by kind. Panels without a line are left out.
      common_axis: whether all panels show the same range of values.
      arms: the arm of each name; None: the names are arms.
      true: true bits/dim, drawn as a line in each panel.
      is_real: whether the data are real numbers.
    """
    kinds = [kind for kind in panels if any(len(c[kind]) > 1 for c in curves.values())] or list(panels)
    drawn, every = [], [point for c in curves.values() for points in c.values() for point in points]
    last = max((step for step, _ in every), default=0)
    first = last / 10
    for kind in kinds:
        late = {name: [point for point in c[kind] if point[0] >= first] for name, c in curves.items()}
        least = -math.inf if is_real and kind in SIGNED else 0.0
        lines = [_curve(name, arms[name] if arms else name, points, least) for name, points in late.items()]
        lines += [] if true is None else [charts.Curve("truth", (first, last), (true, true), dashed=True)]
        drawn.append(charts.Panel(panels[kind][1], lines, panels[kind][0], from_zero=False))
    seeds = max((len(values) for _, values in every), default=0)
    note = f"mean over seeds{', bands: 95 % t intervals' * (seeds >= FEWEST_SEEDS)}" if seeds > 1 else ""
    return charts.draw(charts.Chart("", "training step", drawn, note, common_axis=common_axis), title)


def _curve(name: str, arm: str, points: Points, least: float) -> charts.Curve:
    """The mean over seeds by step, with its interval above `least` over enough of them."""
    enough = [values for _, values in points if len(values) >= FEWEST_SEEDS]
    ends = [mean_of(values).interval or (np.nan, np.nan) for values in enough]
    low, high = zip(*ends, strict=True) if len(ends) == len(points) > 0 else ((), ())
    low = np.maximum(low, least).tolist()
    return charts.Curve(name, [step for step, _ in points], means_of(points), low, high, arm)
