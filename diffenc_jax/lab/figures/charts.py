"""Figures of studies as plain data (charts of curves, boards of pictures), and the functions that draw them.

The data need neither numpy nor matplotlib, so a module can declare a study without importing either.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from diffenc_jax.lab.figures import style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAMMA = r"$\gamma=-\log\,\mathrm{SNR}$"
BANDS = "bands: ±2 standard errors over images"
# Boards: side of a cell in inches, and the gap between cells as a fraction of the side.
SIDE, GAP = 0.8, 0.08


class Curve(NamedTuple):
    """Values at several places, with bands or bars around them.

    Attributes:
      low, high: ends of the bands or bars of the values; empty without any.
      arm: the arm of the run, which determines the style; empty: the next colour.
      dashed: whether the line is dashed.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    arm: str = ""
    dashed: bool = False


class Panel(NamedTuple):
    """Curves over one axis of values, which is `logarithmic` if all are positive."""

    ylabel: str
    curves: Sequence[Curve]
    title: str = ""
    from_zero: bool = True
    logarithmic: bool = False


class Chart(NamedTuple):
    """Panels above each other, with a common horizontal axis.

    Attributes:
      caption: description of the panels, which can be understood without the figure.
      note: explanation of symbols and of the legend, shown below the panels.
      bars: whether the errors are drawn as bars and not as bands.
      common_axis: whether all panels show the same range of values.
    """

    caption: str
    xlabel: str
    panels: Sequence[Panel]
    note: str = ""
    logarithmic: bool = False
    bars: bool = False
    common_axis: bool = False


class Board(NamedTuple):
    """A grid of pictures, with names of rows and headings of columns.

    Attributes:
      pictures: arrays [rows, columns, H, W, C] in -1 .. 1, side by side.
      symbol: symbol of the last array if this array has differences; empty otherwise. Differences are shown on the
        scale of the largest difference, with a colour bar.
    """

    caption: str
    names: Sequence[str]
    heads: Sequence[str]
    pictures: "Sequence[np.ndarray]"
    note: str = ""
    symbol: str = ""


def with_errors(label: str, rows: Sequence[dict[str, Any]], x: str, y: str, **look: Any) -> Curve:
    """The curve of column y against column x, with a band of two standard errors '<y>_se' on either side."""
    known = [row for row in rows if row[y] is not None]
    low, high = ([row[y] + sign * (row[f"{y}_se"] or 0.0) for row in known] for sign in (-2, 2))
    return Curve(label, [row[x] for row in known], [row[y] for row in known], low, high, **look)


@style.style()
def draw(figure: Chart | Board, title: str) -> "Figure":
    """Draw a figure in the style of all figures."""
    title = style.literal(title)
    return _draw_chart(figure, title) if isinstance(figure, Chart) else _draw_board(figure, title)


def _draw_chart(chart: Chart, title: str) -> "Figure":
    labels = list(dict.fromkeys(curve.label for panel in chart.panels for curve in panel.curves))
    height = 1.5 + 1.5 * len(chart.panels) + 0.15 * len(labels) + 0.7 * (len(chart.panels) == 1)
    shared: dict[str, Any] = {"sharex": True, "sharey": chart.common_axis, "squeeze": False}
    figure, grid = style.new_figure(style.COLUMN, height, title, nrows=len(chart.panels), **shared)
    handles: dict[str, Any] = {}
    for axes, panel in zip(grid[:, 0], chart.panels, strict=True):
        handles |= _draw_panel(axes, panel, labels, chart.bars)
        axes.set_ylabel(panel.ylabel)
        axes.set_title(panel.title, fontsize=style.SMALL)
        axes.grid()
    axes.set_xlabel(chart.xlabel)
    if chart.logarithmic:
        axes.set_xscale("log")
    # Below the panels, where it hides no curve.
    names = [style.wrapped(label, 2.5) for label in handles]
    figure.legend(list(handles.values()), names, loc="outside lower center", title=style.wrapped(chart.note, 3.0))
    return figure


def _draw_panel(axes: "Axes", panel: Panel, labels: list[str], bars: bool) -> dict[str, Any]:
    """Draw the curves of a panel, in the colours of their `labels`; returns the entries of the legend by label."""
    import numpy as np

    handles: dict[str, Any] = {}
    looks = style.run_styles([curve.arm for curve in panel.curves])
    for curve, look in zip(panel.curves, looks, strict=True):
        if not curve.arm:
            at = labels.index(curve.label) % len(style.COLOURS)
            look = {"color": style.COLOURS[at], "marker": style.MARKERS[at], "linestyle": "--" if curve.dashed else "-"}
        label = style.literal(curve.label) if curve.arm else curve.label  # a run's name, or a symbol
        if bars and curve.low:
            reach = np.maximum(0.0, [np.subtract(curve.y, curve.low), np.subtract(curve.high, curve.y)])
            handles[label] = axes.errorbar(curve.x, curve.y, reach, label=label, **look)
            continue
        every = max(1, -(-len(curve.x) // 10))  # at most ten markers
        (handles[label],) = axes.plot(curve.x, curve.y, markevery=every, label=label, **look)
        if curve.low:
            axes.fill_between(curve.x, curve.low, curve.high, color=look["color"], alpha=0.25, lw=0)
    if panel.logarithmic and min(value for curve in panel.curves for value in curve.y) > 0:
        axes.set_yscale("log")
    elif panel.from_zero:
        axes.set_ylim(bottom=0)
    return handles


def _draw_board(board: Board, title: str) -> "Figure":
    import numpy as np
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    *others, last = board.pictures
    scale = float(np.abs(last).max() if board.symbol else 1.0) or 1.0
    parts = [*(_coloured(values, False) for values in others), _coloured(last / scale, bool(board.symbol))]
    pictures = np.concatenate(parts, axis=1)
    n, g, height, width, _ = pictures.shape
    gap = max(1, round(GAP * width))
    canvas = np.ones((n, g, height + gap, width + gap, 3))
    canvas[:, :, :height, :width] = pictures
    canvas = canvas.swapaxes(1, 2).reshape(n * (height + gap), g * (width + gap), 3)[:-gap, :-gap]
    side = SIDE / width
    figure, axes = style.new_figure(1.6 + side * canvas.shape[1], 1.2 + side * canvas.shape[0], title, board.note)
    figure.set_layout_engine("compressed")  # otherwise labels touch the border
    axes.imshow(canvas, interpolation="nearest")
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(g) * (width + gap) + (width - 1) / 2, labels=board.heads)
    axes.set_yticks(np.arange(n) * (height + gap) + (height - 1) / 2, labels=board.names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if board.symbol:
        colours = ScalarMappable(Normalize(-scale, scale), "RdBu_r")
        figure.colorbar(colours, ax=axes, label=board.symbol, aspect=40, pad=0.02).outline.set_visible(False)
    return figure


def _coloured(values: "np.ndarray", signed: bool) -> "np.ndarray":
    """RGB [n, g, H, W, 3] of values [n, g, H, W, C] in -1 .. 1. Three channels are colours; others are side by side."""
    import numpy as np
    from matplotlib import colormaps

    unit = np.clip(0.5 + 0.5 * values, 0.0, 1.0)
    if values.shape[-1] == 3:
        return unit
    return colormaps["RdBu_r" if signed else "gray"](np.concatenate(np.moveaxis(unit, -1, 0), axis=3))[..., :3]
