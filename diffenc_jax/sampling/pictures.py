"""Images side by side, or points of two dimensions, as one picture."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.workdir import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_SIDE = 480  # a grid is enlarged by a whole factor until it is at least that wide
GAP = 1
SHOWN = 100
POINT = (1, 1, 2)  # images of this shape are points of two dimensions
POINTS_SHOWN = 10_000


def write(images: np.ndarray, levels: int, path: Path) -> None:
    """Writes a picture of the first `SHOWN` of uint8 [N, H, W, C] as a grid, or a scatter plot of 2-d points."""
    if images.shape[1:] == POINT:
        _write_scatter(images[:POINTS_SHOWN, 0, 0], levels, path)
        return
    from PIL import Image

    with whole_file(path) as file:
        Image.fromarray(grid(images[:SHOWN], levels)).save(file, format="PNG")


def grid(images: np.ndarray, levels: int, columns: int | None = None, side: int = MIN_SIDE) -> np.ndarray:
    """[N, H, W, C] of values from 0 to levels - 1 -> one picture, uint8 [h, w] or [h, w, 3].

    Images of other than one or three channels show their channels side by side.

    Args:
      images: pixels, or real values on the axis on which pixel k stands at k; they are cut off at its ends.
      levels: V.
      columns: images in a row; None: as many as there are rows, or one more.
      side: the picture's least width.
    """
    n, height, width, channels = images.shape
    if channels not in (1, 3):
        images = images.transpose(0, 1, 3, 2).reshape(n, height, width * channels, 1)
        width, channels = width * channels, 1
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    rows = math.ceil(n / columns)
    canvas = np.full((rows * columns, height + GAP, width + GAP, channels), 255, np.uint8)
    canvas[:n, :height, :width] = bright(images, levels)
    canvas = canvas.reshape(rows, columns, height + GAP, width + GAP, channels).swapaxes(1, 2)
    picture = canvas.reshape(rows * (height + GAP), columns * (width + GAP), channels)[:-GAP, :-GAP]
    factor = math.ceil(side / picture.shape[1])
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    return picture[..., 0] if channels == 1 else picture


def bright(values: np.ndarray, levels: int) -> np.ndarray:
    """uint8 grey values, 0 .. 255, of values from 0 to levels - 1; real ones are cut off at the ends."""
    return np.round(np.clip(values.astype(np.float32) / (levels - 1), 0, 1) * 255).astype(np.uint8)


def place(figure: "Figure", picture: np.ndarray, x: float, y: float) -> None:
    """Puts uint8 [h, w] or [h, w, 3] into a figure as it is, its lower left corner at these pixels."""
    colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
    figure.figimage(colours, x, y)


def scatter(axes: "Axes", points: np.ndarray, levels: int, **options) -> None:
    """Points [N, 2] in bins, on axes that show all bins."""
    axes.scatter(points[:, 0], points[:, 1], s=2, linewidths=0, **options)
    axes.set(xlim=(0, levels - 1), ylim=(0, levels - 1), aspect="equal")


def _write_scatter(points: np.ndarray, levels: int, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    scatter(axes, points, levels)
    axes.set(xlabel="first coordinate (bin)", ylabel="second coordinate (bin)")
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=120)
