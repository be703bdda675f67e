"""Pictures of images side by side, or of two-dimensional points as a scatter plot."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.display.figures import BLUE, COLUMN, DPI, empty_figure, figure_bytes, new_figure, style
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_WIDTH = 480  # pixels: a grid is enlarged by an integer factor to at least this width
GAP = 1
PIXEL_DPI = 100  # of figures whose size is given in pixels
SHOWN = 100
POINT = (1, 1, 2)  # images of this shape are two-dimensional points
POINTS_SHOWN = 10_000
POINTS_PER_PANEL = 2000


def num_shown(shape: tuple[int, ...], images: int) -> int:
    """Number of images of `shape` in a panel that has room for `images`, or for `POINTS_PER_PANEL` points."""
    return POINTS_PER_PANEL if shape == POINT else images


def write_picture(images: np.ndarray, levels: int, path: Path, columns: int | None = None) -> None:
    """Write the first images of uint8 [N, H, W, C]: `SHOWN` as a grid, or `POINTS_SHOWN` points as a scatter plot.

    `columns` as in `grid`.
    """
    if images.shape[1:] == POINT:
        _write_scatter(images[:POINTS_SHOWN, 0, 0], levels, path)
        return
    from PIL import Image

    save_picture(Image.fromarray(grid(images[:SHOWN], levels, columns)), path, "PNG")


def grid(images: np.ndarray, levels: int, columns: int | None = None, min_width: int = MIN_WIDTH) -> np.ndarray:
    """Arrange images [N, H, W, C] as one picture, uint8 [h, w] or [h, w, 3].

    Images with another number of channels than one or three show their channels side by side.

    Args:
      images: pixels, or real values on the axis on which pixel k has the value k.
      levels: number V of pixel levels.
      columns: images per row; None for as many as there are rows, or one more.
      min_width: of the picture, in pixels.
    """
    n, height, width, channels = images.shape
    if channels not in (1, 3):
        images = images.transpose(0, 1, 3, 2).reshape(n, height, width * channels, 1)
        width, channels = width * channels, 1
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    rows = math.ceil(n / columns)
    canvas = np.full((rows * columns, height + GAP, width + GAP, channels), 255, np.uint8)
    canvas[:n, :height, :width] = grey_values(images, levels)
    canvas = canvas.reshape(rows, columns, height + GAP, width + GAP, channels).swapaxes(1, 2)
    picture = canvas.reshape(rows * (height + GAP), columns * (width + GAP), channels)[:-GAP, :-GAP]
    factor = math.ceil(min_width / picture.shape[1])
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    return picture[..., 0] if channels == 1 else picture


def grey_values(values: np.ndarray, levels: int) -> np.ndarray:
    """uint8 grey values 0 .. 255 of values from 0 to levels - 1; values outside are clipped."""
    return np.round(np.clip(values.astype(np.float32) / (levels - 1), 0, 1) * 255).astype(np.uint8)


def pixel_figure(width: float, height: float) -> "Figure":
    """An empty figure of `width` by `height` pixels, for `add_picture`."""
    return empty_figure(width / PIXEL_DPI, height / PIXEL_DPI, dpi=PIXEL_DPI, layout="none")


def add_picture(figure: "Figure", picture: np.ndarray, x: float, y: float) -> None:
    """Add uint8 [h, w] or [h, w, 3] to a figure pixel for pixel, with its lower left corner at pixel (x, y)."""
    colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
    figure.figimage(colours, x, y)


@style()
def draw_point_panels(
    panels: dict[str, np.ndarray], levels: int, width: float, height: float, note: str = "", **options
) -> "Figure":
    """A scatter plot of points [N, 1, 1, 2], in bins, per caption, side by side."""
    figure, all_axes = new_figure(width, height, note=note, ncols=len(panels))
    for axes, (caption, points) in zip(np.atleast_1d(all_axes), panels.items(), strict=True):
        _add_points(axes, points[:, 0, 0], levels, **options)
        axes.set(xticks=[], yticks=[], title=caption)
        axes.spines[:].set_visible(True)
    return figure


def rendered(figure: "Figure") -> np.ndarray:
    """The pixels of a figure, uint8 [h, w, 3]."""
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[..., :3]


def _add_points(axes: "Axes", points: np.ndarray, levels: int, **options) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=2, linewidths=0, **options)
    axes.set(xlim=(-1, levels), ylim=(-1, levels), aspect="equal")


@style()
def _write_scatter(points: np.ndarray, levels: int, path: Path) -> None:
    figure, axes = new_figure(COLUMN, COLUMN)
    _add_points(axes, points, levels, color=BLUE)
    axes.set(xlabel="first coordinate (bin)", ylabel="second coordinate (bin)")
    write_figure(figure, path)


def write_figure(figure: "Figure", path: Path, dpi: float = DPI) -> None:
    """Write a figure as .png, pixel for pixel where it holds pictures."""
    storage.write(path, figure_bytes(figure, "png", dpi))
