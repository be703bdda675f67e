"""Pictures of images and what is made of them, with a row per version, such as reconstructions from z_t per time t."""

from pathlib import Path

import numpy as np

from diffenc_jax.display.figures import style
from diffenc_jax.sampling.draw import Reconstruction
from diffenc_jax.sampling.pictures import (
    PIXEL_DPI,
    POINT,
    add_picture,
    draw_point_panels,
    grid,
    pixel_figure,
    write_figure,
)

SHOWN = 12
WIDTH, MARGIN, CAPTION, NOTE = 720, 10, 110, 30  # pixels of the rows, around them, to their left, and below them
SYMBOLS = r"sampled anew from $z_t$, the noisy image at time $t$, with $\gamma=-\log\,\mathrm{SNR}$"


def write_reconstructions(originals: np.ndarray, rows: list[Reconstruction], levels: int, path: Path) -> None:
    """Write the picture of uint8 `originals` [N, H, W, C] and their reconstructions."""
    versions = {f"$t={row.t:g}$\n$\\gamma={row.gamma:.2f}$": row.images for row in rows}
    write_versions({"original": originals} | versions, levels, SYMBOLS, path)


@style()
def write_versions(versions: dict[str, np.ndarray], levels: int, note: str, path: Path) -> None:
    """Write a picture of uint8 [N, H, W, C] by caption, the originals first: rows of images, or panels of points.

    `note`, below them, explains the captions.
    """
    draw = _points if next(iter(versions.values())).shape[1:] == POINT else _strips
    write_figure(draw(versions, levels, note), path, PIXEL_DPI)


def _strips(rows: dict[str, np.ndarray], levels: int, note: str):
    """Rows of images, one below the other."""
    strips = [grid(images, levels, len(images), WIDTH * len(images) // SHOWN) for images in rows.values()]
    height, width = strips[0].shape[:2]
    size = np.array([CAPTION + max(width, WIDTH) + MARGIN, MARGIN + len(rows) * (height + MARGIN) + NOTE])
    figure = pixel_figure(*size)
    for number, (strip, caption) in enumerate(zip(strips, rows, strict=True)):
        y = size[1] - (number + 1) * (height + MARGIN)
        add_picture(figure, strip, CAPTION, y)
        figure.text(MARGIN / size[0], (y + height / 2) / size[1], caption, va="center", fontsize=10)
    figure.text(CAPTION / size[0], NOTE / 2 / size[1], note, va="center", fontsize=10)
    return figure


def _points(panels: dict[str, np.ndarray], levels: int, note: str):
    """Panels of points side by side; the colour of a point shows the place of its original."""
    colour = np.arctan2(*(next(iter(panels.values()))[:, 0, 0].astype(float) - levels / 2).T)
    note = f"{note.replace('image', 'point')}; colour: the direction of the original from the centre"
    lines = {caption.replace("\n", ", "): points for caption, points in panels.items()}
    return draw_point_panels(lines, levels, 2.3 * len(lines), 2.9, note, c=colour, cmap="hsv")
