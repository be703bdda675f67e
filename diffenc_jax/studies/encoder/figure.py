"""Figures of the effects of an encoder: boards of images with a column per γ, or plots of two-dimensional points."""

from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.display.figures import COLOURS, add_band, new_figure
from diffenc_jax.studies.outputs import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diffenc_jax.studies.encoder.measure import ByGamma

# Boards: number of γ, side of a cell in inches, and the gap between cells as a fraction of the side.
COLUMNS, SIDE, GAP = 9, 0.85, 0.08
# Two-dimensional points have fewer and larger panels.
POINT_COLUMNS, POINT_SIDE = 5, 2.4
# Arrows with their true length, in the unit of the axes.
ARROWS = dict(angles="xy", scale_units="xy", scale=1.0, width=0.004, alpha=0.6)
GREY, DIVERGING = "gray", "RdBu_r"
BLUE, RED, GREEN = COLOURS[0], COLOURS[1], COLOURS[2]


def draw_figures(effects: "ByGamma", rows: Rows, title: str) -> "dict[str, Figure]":
    """All figures by name: 'x_t', 'difference', 'derivative', 'curves', and for images also 'mean'.

    `rows` is the table of `effects`, and `title` the first line of every figure's title.
    """
    others = _points if effects.x.shape[1:] == (1, 1, 2) else _boards
    return {"curves": _curves(effects, rows, title), **others(effects, title)}


def _boards(effects: "ByGamma", title: str) -> "dict[str, Figure]":
    places = _spread(len(effects.gamma), COLUMNS)
    gamma, x_t, dx_t = effects.gamma[places], effects.x_t[:, places], effects.dx_t[:, places]
    means = np.stack([effects.added_map[places], -effects.removed_map[places]])
    names = [str(number) for number in range(len(x_t))]
    return {
        "x_t": _board(x_t, gamma, names, f"{title}\nx_t", effects.x, signed=False),
        "difference": _board(x_t - effects.x[:, None], gamma, names, f"{title}\nx_t − x", effects.x),
        "derivative": _board(dx_t, gamma, names, f"{title}\ndx_t/dγ", effects.x),
        "mean": _board(means, gamma, ["added", "removed"], f"{title}\nx_t − x, mean over the images"),
    }


def _spread(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` positions, the first and the last among them, as evenly spaced as possible."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def _board(
    values: np.ndarray,
    gamma: np.ndarray,
    names: list[str],
    title: str,
    x: np.ndarray | None = None,
    signed: bool = True,
) -> "Figure":
    """Board of values [n, g, H, W, C] in n rows and g columns, after a column of x [n, H, W, C] in -1 .. 1 if given.

    Signed values are amplified per column: the largest has full colour, and stands above the column.
    """
    from matplotlib.cm import ScalarMappable

    scales = np.abs(values).max(axis=(0, 2, 3, 4)) if signed else np.ones(len(gamma))
    amplified = values / np.where(scales > 0, scales, 1.0)[:, None, None, None]
    heads = [f"γ = {_number(g)}" + (f"\n± {s:.2g}" if signed else "") for g, s in zip(gamma, scales, strict=True)]
    colours = DIVERGING if signed else GREY
    pictures = _coloured(amplified, colours)
    if x is not None:
        pictures, heads = np.concatenate([_coloured(x[:, None], GREY), pictures], axis=1), ["x", *heads]
    canvas, across, down = _tiled(pictures)
    side = SIDE / pictures.shape[3]
    figure, axes = new_figure(1.1 + side * canvas.shape[1], 1.1 + side * canvas.shape[0], title)
    axes.imshow(canvas, interpolation="nearest")
    axes.xaxis.tick_top()
    axes.set_xticks(across, labels=heads, fontsize="x-small")
    axes.set_yticks(down, labels=names, fontsize="x-small", rotation=0 if x is not None else 90, va="center")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if values.shape[-1] != 3:
        bar = figure.colorbar(ScalarMappable(cmap=colours), ax=axes, fraction=0.02, pad=0.01, ticks=[0, 0.5, 1])
        bar.set_ticklabels(["− scale", "0", "+ scale"] if signed else ["−1", "0", "1"], fontsize="x-small")
    elif signed:
        text = "mid-grey is 0; a brighter channel is above 0, a darker one below, white or black at ± the scale"
        axes.set_xlabel(text, fontsize="x-small")
    return figure


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


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
    alpha2, sigma2 = 1 / (1 + np.exp(effects.gamma)), 1 / (1 + np.exp(-effects.gamma))
    title = f"{title}\nper dimension; bands: ± 2 standard errors over images"
    figure, all_axes = new_figure(6, 7.2, title, nrows=3, sharex=True)
    change, slope, amounts = all_axes
    add_band(change, rows, "difference", BLUE, label="x_t − x")
    add_band(slope, rows, "derivative", BLUE, label="dx_t/dγ")
    add_band(slope, rows, "residual", GREEN, label="dx_t/dλ − σ_t² x̂, λ = −γ")
    add_band(amounts, rows, "added", RED, label="added: x_t − x where positive")
    add_band(amounts, rows, "removed", BLUE, label="removed: x − x_t where positive")
    for axes, values, name in ((change, sigma2, "x_t − x"), (slope, alpha2 * sigma2, "dx_t/dγ")):
        label = f"{name} of x_t = α_t² x"
        axes.plot(effects.gamma, values * effects.x_rms, "--", color="0.5", linewidth=1, label=label)
    for axes, label in ((change, "root mean square"), (slope, "root mean square"), (amounts, "mean")):
        axes.set(ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    figure.align_ylabels(all_axes)
    amounts.set_xlabel("γ = −log SNR (data on the left, noise on the right)")
    return figure


def _points(effects: "ByGamma", title: str) -> "dict[str, Figure]":
    """x_t as points; x_t - x and dx_t/dγ as arrows from x and x_t."""
    places = _spread(len(effects.gamma), POINT_COLUMNS)
    gamma, x_t, dx_t = effects.gamma[places], effects.x_t[:, places, 0, 0], effects.dx_t[:, places, 0, 0]
    x = np.broadcast_to(effects.x[:, 0], x_t.shape)
    return {
        "x_t": _panels(gamma, f"{title}\nx_t", x_t),
        "difference": _panels(gamma, f"{title}\nfrom x to x_t", x, x_t - x),
        "derivative": _panels(gamma, f"{title}\ndx_t/dγ, at x_t", x_t, dx_t),
    }


def _panels(gamma: np.ndarray, title: str, points: np.ndarray, arrows: np.ndarray | None = None) -> "Figure":
    """A panel per γ of points [n, g, 2], or of arrows [n, g, 2] of true length that start at the points."""
    grid = dict(ncols=len(gamma), sharex=True, sharey=True, squeeze=False)
    figure, panels = new_figure(POINT_SIDE * len(gamma), POINT_SIDE + 0.7, title, **grid)
    for column, axes in enumerate(panels[0]):
        if arrows is None:
            axes.scatter(*points[:, column].T, s=2, color=BLUE)
        else:
            axes.quiver(*points[:, column].T, *arrows[:, column].T, color=BLUE, **ARROWS)
        axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
        axes.set_title(f"γ = {_number(gamma[column])}", fontsize="small")
    return figure
