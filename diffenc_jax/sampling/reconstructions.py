"""A picture of images and of what the model makes of them from z_t on, a row for each t."""

from pathlib import Path

import numpy as np

from diffenc_jax.sampling.draw import Redrawn
from diffenc_jax.sampling.pictures import POINT, grid, place, scatter
from diffenc_jax.workdir import whole_file

SHOWN = 12
POINTS_SHOWN = 2000
DPI = 100
MARGIN, CAPTION = 10, 110  # pixels around the rows, and left of them for what they are


def write(originals: np.ndarray, rows: list[Redrawn], levels: int, path: Path) -> None:
    """Writes the picture: uint8 `originals` [N, H, W, C] on top, what was redrawn of them below, the least t first."""
    captions = ["original", *(f"t = {row.t:g}\nγ = {row.gamma:.2f}".replace("-", "−") for row in rows)]
    paint = _points if originals.shape[1:] == POINT else _strips
    figure = paint([originals, *(row.images for row in rows)], captions, levels)
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=DPI)


def _strips(rows: list[np.ndarray], captions: list[str], levels: int):
    """A row of images below the other, pixel for pixel."""
    from matplotlib.figure import Figure

    strips = [grid(images, levels, columns=len(images), side=720) for images in rows]
    height, width = strips[0].shape[:2]
    size = np.array([CAPTION + width + MARGIN, MARGIN + len(rows) * (height + MARGIN)])
    figure = Figure(figsize=size / DPI, dpi=DPI)
    for number, (strip, caption) in enumerate(zip(strips, captions, strict=True)):
        y = size[1] - (number + 1) * (height + MARGIN)
        place(figure, strip, CAPTION, y)
        figure.text(MARGIN / size[0], (y + height / 2) / size[1], caption, va="center")
    return figure


def _points(rows: list[np.ndarray], captions: list[str], levels: int):
    """A panel of points beside the other, each in the colour of where its original is."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(rows), 3), layout="constrained")
    colour = np.arctan2(*(rows[0][:, 0, 0].astype(float) - levels / 2).T)
    for axes, points, caption in zip(figure.subplots(1, len(rows)), rows, captions, strict=True):
        scatter(axes, points[:, 0, 0], levels, c=colour, cmap="hsv")
        axes.set(xticks=[], yticks=[], title=caption.replace("\n", ", "))
    return figure
