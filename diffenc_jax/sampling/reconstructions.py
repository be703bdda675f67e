"""A picture of images and their reconstructions from z_t, with one row per time t."""

from pathlib import Path

import numpy as np

from diffenc_jax.runs.files import save_figure
from diffenc_jax.sampling.draw import Reconstruction
from diffenc_jax.sampling.pictures import POINT, add_picture, draw_point_panels, grid

SHOWN = 12
DPI = 100
MARGIN, CAPTION = 10, 110  # pixels around the rows, and to their left


def write_reconstructions(originals: np.ndarray, rows: list[Reconstruction], levels: int, path: Path) -> None:
    """Write the picture: uint8 `originals` [N, H, W, C] at the top or left, their reconstructions after them."""
    points = originals.shape[1:] == POINT
    panels, gap = {"original": originals}, ", " if points else "\n"
    for row in rows:
        panels[f"t = {row.t:g}{gap}γ = {row.gamma:.2f}".replace("-", "−")] = row.images
    save_figure((_points if points else _strips)(panels, levels), path, dpi=DPI)


def _strips(rows: dict[str, np.ndarray], levels: int):
    """Rows of images, one below the other."""
    from matplotlib.figure import Figure

    strips = [grid(images, levels, columns=len(images), min_width=720) for images in rows.values()]
    height, width = strips[0].shape[:2]
    size = np.array([CAPTION + width + MARGIN, MARGIN + len(rows) * (height + MARGIN)])
    figure = Figure(figsize=size / DPI, dpi=DPI)
    for number, (strip, caption) in enumerate(zip(strips, rows, strict=True)):
        y = size[1] - (number + 1) * (height + MARGIN)
        add_picture(figure, strip, CAPTION, y)
        figure.text(MARGIN / size[0], (y + height / 2) / size[1], caption, va="center")
    return figure


def _points(panels: dict[str, np.ndarray], levels: int):
    """Panels of points side by side; the colour of a point shows the place of its original."""
    colour = np.arctan2(*(panels["original"][:, 0, 0].astype(float) - levels / 2).T)
    return draw_point_panels(panels, levels, 2.6 * len(panels), 3, c=colour, cmap="hsv")
