"""Figures of the effects of an encoder: boards of images with a column per γ, or plots of two-dimensional points."""

from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.lab.figures.style import (
    BLUE,
    COLUMN,
    GAMMA,
    GREEN,
    PAGE,
    VERMILLION,
    add_band,
    literal,
    new_figure,
    style,
    top_of_bands,
)
from diffenc_jax.lab.studies.encoder.balance import PREDICTORS
from diffenc_jax.lab.studies.outputs import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diffenc_jax.lab.studies.encoder.measure import ByGamma

# Boards: number of γ, side of a cell in inches, and the gap between cells as a fraction of the side.
COLUMNS, SIDE, GAP = 5, 0.8, 0.08
# Number of γ of panels of two-dimensional points.
POINT_COLUMNS = 4
# Arrows with their true length, in the unit of the axes.
ARROWS = dict(angles="xy", scale_units="xy", scale=1.0, width=0.006, alpha=0.6)
GREY, DIVERGING = "gray", "RdBu_r"
SLOPE = r"$\mathrm{d}x_t/\mathrm{d}\gamma$"
SYMBOLS = (
    r"$x_t$: encoded image at the noise level $\gamma=-\log\,\mathrm{SNR}$; $x$: image, from $-1$ to $1$. "
    r"From column to column $x_t$ moves equally far; the last column has the highest noise level."
)


@style()
def draw_figures(effects: "ByGamma", rows: Rows, title: str) -> "dict[str, Figure]":
    """All figures by name: 'x_t', 'difference', 'derivative', 'curves', and for images also 'mean'.

    `rows` is the table of `effects`, and `title` the first line of every figure's title.
    """
    others, title = _points if effects.x.shape[1:] == (1, 1, 2) else _boards, literal(title)
    return {"curves": _curves(effects, rows, title), **others(effects, title)}


def _boards(effects: "ByGamma", title: str) -> "dict[str, Figure]":
    places = _even_places(effects, COLUMNS)
    gamma, x_t, dx_t = effects.gamma[places], effects.x_t[:, places], effects.dx_t[:, places]
    means = np.stack([effects.added_map[places], -effects.removed_map[places]])
    change = "$x_t-x$"
    return {
        "x_t": _board(x_t, gamma, f"{title}\nencoded images", "$x_t$", effects.x, signed=False),
        "difference": _board(x_t - effects.x[:, None], gamma, f"{title}\nchanges", change, effects.x),
        "derivative": _board(dx_t, gamma, f"{title}\nderivatives", SLOPE, effects.x),
        "mean": _board(means, gamma, f"{title}\nchanges by sign, mean over the images", change),
    }


def _even_places(effects: "ByGamma", most: int) -> np.ndarray:
    """At most `most` positions on the grid of γ, the last of all among them, between which x_t moves equally far.

    The speed of x_t is the root mean square of dx_t/dγ. An encoder that never moves has positions evenly spaced in γ.
    """
    speed = np.sqrt(effects.derivative.mean(axis=0))
    moved = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(effects.gamma))])
    moved = moved if moved[-1] > 0 else effects.gamma - effects.gamma[0]
    wanted = moved[-1] * np.arange(1, most + 1) / most
    return np.unique(np.abs(moved[:, None] - wanted).argmin(axis=0))


def _board(
    values: np.ndarray, gamma: np.ndarray, title: str, symbol: str, x: np.ndarray | None = None, signed: bool = True
) -> "Figure":
    """Board of values [n, g, H, W, C], `symbol`, with a row per image after x [n, H, W, C] in -1 .. 1, and g columns.

    Without x the two rows are added and removed amounts. All signed values are amplified by one factor: the colour bar
    ends at the largest of them.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = (signed and np.abs(values).max()) or 1.0
    heads = [f"$\\gamma={value:.2f}$" for value in gamma]
    colours = DIVERGING if signed and values.shape[-1] != 3 else GREY  # three channels are colours
    pictures = _coloured(values / scale, colours)
    names = ["added", "removed"]
    if x is not None:
        names = [f"image {number}" for number in range(len(x))]
        pictures, heads = np.concatenate([_coloured(x[:, None], GREY), pictures], axis=1), ["$x$", *heads]
    canvas, across, down = _tiled(pictures)
    side = SIDE / pictures.shape[3]
    figure, axes = new_figure(1.6 + side * canvas.shape[1], 1.2 + side * canvas.shape[0], title, SYMBOLS)
    figure.set_layout_engine("compressed")  # otherwise labels touch the border
    axes.imshow(canvas, interpolation="nearest")
    axes.xaxis.tick_top()
    axes.set_xticks(across, labels=heads)
    axes.set_yticks(down, labels=names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(Normalize(-scale, scale), colours), ax=axes, label=symbol, aspect=40, pad=0.02)
    bar.outline.set_visible(False)
    return figure


def _coloured(values: np.ndarray, colours: str) -> np.ndarray:
    """RGB [n, g, H, W, 3] of values [n, g, H, W, C] in -1 .. 1: three channels are colours, others use a colour map.

    Two channels, or more than three, lie side by side.
    """
    from matplotlib import colormaps

    unit = np.clip(0.5 + 0.5 * values, 0.0, 1.0)
    if values.shape[-1] == 3:
        return unit
    return colormaps[colours](np.concatenate(np.moveaxis(unit, -1, 0), axis=3))[..., :3]


def _tiled(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures [n, g, H, W, 3] on a white canvas, and the centres of its columns and rows in pixels."""
    n, g, height, width, _ = pictures.shape
    gap = max(1, round(GAP * width))
    canvas = np.ones((n, g, height + gap, width + gap, 3))
    canvas[:, :, :height, :width] = pictures
    canvas = canvas.swapaxes(1, 2).reshape(n * (height + gap), g * (width + gap), 3)[:-gap, :-gap]
    across, down = (np.arange(m) * (s + gap) + (s - 1) / 2 for m, s in ((g, width), (n, height)))
    return canvas, across, down


def _curves(effects: "ByGamma", rows: Rows, title: str) -> "Figure":
    """The table against γ with bands of two standard errors; dashed lines are those of x_t = α_t² x."""
    note = (
        r"$x_t$: encoded image; $x$: image, from $-1$ to $1$; $\lambda=-\gamma$; $\hat{x}$: the model's estimate of "
        r"$x_t$; $\alpha_t^2$, $\sigma_t^2$: variances of signal and noise. All per dimension. "
        "Bands: ±2 standard errors over images."
    )
    figure, all_axes = new_figure(COLUMN, 5.8, title, note, nrows=3, sharex=True)
    change, slope, amounts = all_axes
    alpha2, sigma2 = 1 / (1 + np.exp(effects.gamma)), 1 / (1 + np.exp(-effects.gamma))
    for axes, values in ((change, sigma2), (slope, alpha2 * sigma2)):
        label, look = r"same for $x_t=\alpha_t^2x$", {"linestyle": "--", "color": "0.5"}
        axes.plot(effects.gamma, values * effects.x_rms, label=label, linewidth=1, **look)
    panels = {
        change: {"difference": ("$x_t-x$", BLUE, "-")},
        slope: {
            "derivative": (SLOPE, BLUE, "-"),
            "residual": (r"$\mathrm{d}x_t/\mathrm{d}\lambda-\sigma_t^2\hat{x}$", GREEN, "-."),
        },
        amounts: {
            "added": ("$x_t-x$ where positive", VERMILLION, "-"),
            "removed": ("$x-x_t$ where positive", BLUE, "-."),
        },
    }
    for axes, columns in panels.items():
        for column, (label, colour, line) in columns.items():
            add_band(axes, rows, column, label, color=colour, linestyle=line)
        others = [value for line in axes.lines for value in line.get_ydata()]
        top = top_of_bands(rows, columns, others)
        axes.set(ylabel="mean" if axes is amounts else "root mean square", ylim=(0, top))
        axes.grid()
        axes.legend()
    figure.align_ylabels(all_axes)
    amounts.set_xlabel(GAMMA)
    amounts.locator_params(axis="x", nbins=6)
    return figure


@style()
def draw_price(rows: Rows, title: str) -> "Figure":
    """The price of the drift against γ by predictor, the table of `balance.tabulate_price`."""
    note = (
        f"Price at most ½ $e^{{-\\gamma}}$ E ‖{SLOPE} - prediction from $z_\\gamma$‖², for each predictor. "
        "Bands: ±2 standard errors over images."
    )
    figure, axes = new_figure(COLUMN, 3.0, f"{literal(title)}\nprice of the drift", note)
    looks = zip((BLUE, VERMILLION, GREEN), ("-", "-.", "--"), strict=True)
    names = [name for name in PREDICTORS if name in rows[0]]
    for name, (colour, line) in zip(names, looks, strict=False):
        add_band(axes, rows, name, PREDICTORS[name], color=colour, linestyle=line)
    axes.set(xlabel=GAMMA, ylabel=r"bits/dim per unit of $\gamma$", ylim=(0, top_of_bands(rows, names)))
    axes.locator_params(axis="x", nbins=6)
    axes.grid()
    axes.legend()
    return figure


def _points(effects: "ByGamma", title: str) -> "dict[str, Figure]":
    """x_t as points; x_t - x and dx_t/dγ as arrows from x and x_t."""
    places = _even_places(effects, POINT_COLUMNS)
    gamma, x_t, dx_t = effects.gamma[places], effects.x_t[:, places, 0, 0], effects.dx_t[:, places, 0, 0]
    x = np.broadcast_to(effects.x[:, 0], x_t.shape)
    return {
        "x_t": _panels(gamma, f"{title}\nencoded points $x_t$", x_t),
        "difference": _panels(gamma, f"{title}\narrows from $x$ to $x_t$", x, x_t - x),
        "derivative": _panels(gamma, f"{title}\narrows {SLOPE}, at $x_t$", x_t, dx_t),
    }


def _panels(gamma: np.ndarray, title: str, points: np.ndarray, arrows: np.ndarray | None = None) -> "Figure":
    """A panel per γ of points [n, g, 2], or of arrows [n, g, 2] of true length that start at the points."""
    grid = dict(ncols=len(gamma), sharex=True, sharey=True, squeeze=False)
    figure, panels = new_figure(PAGE, 1.1 + PAGE / POINT_COLUMNS, title, SYMBOLS.replace("image", "point"), **grid)
    for column, axes in enumerate(panels[0]):
        if arrows is None:
            axes.scatter(*points[:, column].T, s=2, color=BLUE)
        else:
            axes.quiver(*points[:, column].T, *arrows[:, column].T, color=BLUE, **ARROWS)
        axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal", xlabel="first coordinate")
        axes.set_title(f"$\\gamma={gamma[column]:.2f}$")
    panels[0, 0].set_ylabel("second coordinate")
    return figure
