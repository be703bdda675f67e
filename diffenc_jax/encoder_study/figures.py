"""Figures of what an encoder does. Images are drawn as boards, a column for each of some γ; 2-d points as points."""

from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.encoder_study.by_gamma import ByGamma
from diffenc_jax.palette import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of boards: how many γ, the cells' side in inches, and the share of a side that lies between them.
COLUMNS, SIDE, GAP = 9, 0.85, 0.08
# 2-d points are drawn in fewer and larger panels.
POINT_COLUMNS, POINT_SIDE = 5, 2.4
# Arrows as long as they are, in the unit of the axes.
ARROWS = dict(angles="xy", scale_units="xy", scale=1.0, width=0.004, alpha=0.6)
GREY, DIVERGING = "gray", "RdBu_r"
BLUE, RED, GREEN = COLOURS[0], COLOURS[1], COLOURS[2]


def draw(seen: ByGamma, rows: list[dict[str, float]], title: str) -> "dict[str, Figure]":
    """All figures by name: 'x_t', 'difference', 'derivative', 'curves', and 'mean' but for 2-d points.

    Args:
      rows: the table of what was seen.
      title: of what, to stand above each.
    """
    figures = {"curves": curves(seen, rows, title)}
    if seen.x.shape[1:] == (1, 1, 2):
        return figures | _points(seen, title)
    return figures | _boards(seen, title)


def _boards(seen: ByGamma, title: str) -> "dict[str, Figure]":
    places = _spread(len(seen.gamma), COLUMNS)
    gamma, x_t, dx_t = seen.gamma[places], seen.x_t[:, places], seen.dx_t[:, places]
    means = np.stack([seen.added_map[places], -seen.removed_map[places]])
    names = [str(number) for number in range(len(x_t))]
    return {
        "x_t": _board(x_t, gamma, names, f"{title}\nx_t", seen.x, signed=False),
        "difference": _board(x_t - seen.x[:, None], gamma, names, f"{title}\nx_t − x", seen.x),
        "derivative": _board(dx_t, gamma, names, f"{title}\ndx_t/dγ", seen.x),
        "mean": _board(means, gamma, ["added", "removed"], f"{title}\nx_t − x, mean over the images"),
    }


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many of `count` places, the first and the last among them, as evenly as can be."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def _board(
    values: np.ndarray,
    gamma: np.ndarray,
    names: list[str],
    title: str,
    x: np.ndarray | None = None,
    signed: bool = True,
) -> "Figure":
    """values [n, g, H, W, C] as n rows of g columns, after a column of x [n, H, W, C] in -1 .. 1 if it is given.

    Signed values are amplified, each column by itself: its largest is drawn in full colour, and said above it.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    scales = np.abs(values).max(axis=(0, 2, 3, 4)) if signed else np.ones(len(gamma))
    amplified = values / np.where(scales > 0, scales, 1.0)[:, None, None, None]
    heads = [f"γ = {_number(g)}" + (f"\n± {s:.2g}" if signed else "") for g, s in zip(gamma, scales, strict=True)]
    colours = DIVERGING if signed else GREY
    pictures = _coloured(amplified, colours)
    if x is not None:
        pictures, heads = np.concatenate([_coloured(x[:, None], GREY), pictures], axis=1), ["x", *heads]
    canvas, across, down = _tiled(pictures)
    side = SIDE / pictures.shape[3]
    figure = Figure(figsize=(1.1 + side * canvas.shape[1], 1.1 + side * canvas.shape[0]), layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas, interpolation="nearest")
    axes.xaxis.tick_top()
    axes.set_xticks(across, labels=heads, fontsize="x-small")
    axes.set_yticks(down, labels=names, fontsize="x-small", rotation=0 if x is not None else 90, va="center")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle(title, fontsize="medium")
    if values.shape[-1] != 3:
        bar = figure.colorbar(ScalarMappable(cmap=colours), ax=axes, fraction=0.02, pad=0.01, ticks=[0, 0.5, 1])
        bar.set_ticklabels(["− scale", "0", "+ scale"] if signed else ["−1", "0", "1"], fontsize="x-small")
    elif signed:
        text = "mid-grey is 0; a channel that is brighter is above, one that is darker below, in full at ± the scale"
        axes.set_xlabel(text, fontsize="x-small")
    return figure


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _coloured(values: np.ndarray, colours: str) -> np.ndarray:
    """values [n, g, H, W, C] in -1 .. 1 -> RGB [n, g, H, W, 3]: three channels as they are, others by a colour map.

    Two, and more than three, lie side by side.
    """
    from matplotlib import colormaps

    unit = np.clip(0.5 + 0.5 * values, 0.0, 1.0)
    if values.shape[-1] == 3:
        return unit
    return colormaps[colours](np.concatenate(np.moveaxis(unit, -1, 0), axis=3))[..., :3]


def _tiled(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[n, g, H, W, 3] on a white canvas, and where the columns' and the rows' centres are on it, in pixels."""
    n, g, height, width, _ = pictures.shape
    gap = max(1, round(GAP * width))
    canvas = np.ones((n, g, height + gap, width + gap, 3))
    canvas[:, :, :height, :width] = pictures
    canvas = canvas.swapaxes(1, 2).reshape(n * (height + gap), g * (width + gap), 3)[:-gap, :-gap]
    across, down = (np.arange(m) * (s + gap) + (s - 1) / 2 for m, s in ((g, width), (n, height)))
    return canvas, across, down


def curves(seen: ByGamma, rows: list[dict[str, float]], title: str) -> "Figure":
    """The table against γ, in bands of two standard errors; dashed what x_t = α_t² x would have."""
    from matplotlib.figure import Figure

    alpha2, sigma2 = 1 / (1 + np.exp(seen.gamma)), 1 / (1 + np.exp(-seen.gamma))
    figure = Figure(figsize=(6, 7.2), layout="constrained")
    change, slope, amounts = all_axes = figure.subplots(3, sharex=True)
    _curve(change, rows, "difference", BLUE, "x_t − x")
    _curve(slope, rows, "derivative", BLUE, "dx_t/dγ")
    _curve(slope, rows, "residual", GREEN, "dx_t/dλ − σ_t² x̂, λ = −γ")
    _curve(amounts, rows, "added", RED, "added: x_t − x where above 0")
    _curve(amounts, rows, "removed", BLUE, "removed: x − x_t where above 0")
    for axes, values, name in ((change, sigma2, "x_t − x"), (slope, alpha2 * sigma2, "dx_t/dγ")):
        label = f"{name}, were x_t = α_t² x"
        axes.plot(seen.gamma, values * seen.x_rms, "--", color="0.5", linewidth=1, label=label)
    for axes, label in ((change, "root mean square"), (slope, "root mean square"), (amounts, "mean")):
        axes.set(ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    figure.align_ylabels(all_axes)
    amounts.set_xlabel("γ = −log SNR (data on the left, noise on the right)")
    figure.suptitle(f"{title}\na dimension; bands: ± 2 standard errors over images", fontsize="medium")
    return figure


def _curve(axes, rows: list[dict[str, float]], column: str, colour: str, label: str) -> None:
    gamma, mean, error = (np.array([row[key] for row in rows]) for key in ("gamma", column, f"{column}_se"))
    axes.plot(gamma, mean, color=colour, label=label, linewidth=1.3)
    axes.fill_between(gamma, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.25, linewidth=0)


def _points(seen: ByGamma, title: str) -> "dict[str, Figure]":
    """x_t as points; x_t - x and dx_t/dγ as arrows that begin in x and x_t, as long as they are."""
    places = _spread(len(seen.gamma), POINT_COLUMNS)
    gamma, x, x_t, dx_t = seen.gamma[places], seen.x[:, 0, 0], seen.x_t[:, places, 0, 0], seen.dx_t[:, places, 0, 0]
    change = x_t - x[:, None]

    def arrows(start, step):
        return lambda axes, column: axes.quiver(*start(column).T, *step[:, column].T, color=BLUE, **ARROWS)

    draws = {
        "x_t": lambda axes, column: axes.scatter(*x_t[:, column].T, s=2, color=BLUE),
        "difference": arrows(lambda column: x, change),
        "derivative": arrows(lambda column: x_t[:, column], dx_t),
    }
    labels = {"x_t": "x_t", "difference": "from x to x_t", "derivative": "dx_t/dγ, at x_t"}
    return {name: _panels(gamma, draw, f"{title}\n{labels[name]}") for name, draw in draws.items()}


def _panels(gamma: np.ndarray, draw, title: str) -> "Figure":
    """A panel for each γ, in which `draw(axes, number)` draws."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(POINT_SIDE * len(gamma), POINT_SIDE + 0.7), layout="constrained")
    panels = figure.subplots(1, len(gamma), sharex=True, sharey=True, squeeze=False)[0]
    for column, axes in enumerate(panels):
        draw(axes, column)
        axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
        axes.set_title(f"γ = {_number(gamma[column])}", fontsize="small")
    figure.suptitle(title, fontsize="medium")
    return figure
