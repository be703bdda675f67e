"""Pictures of images as a grid, or of two-dimensional points as a scatter plot."""

import math
from pathlib import Path

import numpy as np

from diffenc_jax.runs.files import write_png

MIN_WIDTH = 480  # pixels: a picture is enlarged by an integer factor to at least this width
GAP = 1
SHOWN = 100
POINT = (1, 1, 2)  # images of this shape are two-dimensional points


def write_picture(images: np.ndarray, levels: int, path: Path) -> None:
    """Write the first `SHOWN` of uint8 [N, H, W, C] as a grid, or all points as a scatter plot; see `picture`."""
    shown = images if images.shape[1:] == POINT else images[:SHOWN]
    write_png(path, picture(shown, levels))


def picture(images: np.ndarray, levels: int) -> np.ndarray:
    """`grid` of images, or `scatter` of points, uint8 [h, w] or [h, w, 3]."""
    drawn = scatter(images, levels) if images.shape[1:] == POINT else grid(images, levels)
    factor = math.ceil(MIN_WIDTH / drawn.shape[1])
    return drawn.repeat(factor, axis=0).repeat(factor, axis=1)


def grid(images: np.ndarray, levels: int) -> np.ndarray:
    """Arrange uint8 images [N, H, W, C] of V = `levels` pixel levels as one picture, uint8 [h, w] or [h, w, 3].

    It has as many columns as rows, or one more. Images with another number of channels than one or three show their
    channels side by side.
    """
    n, height, width, channels = images.shape
    if channels not in (1, 3):
        images = images.transpose(0, 1, 3, 2).reshape(n, height, width * channels, 1)
        width, channels = width * channels, 1
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    canvas = np.full((rows * columns, height + GAP, width + GAP, channels), 255, np.uint8)
    canvas[:n, :height, :width] = grey_values(images, levels)
    canvas = canvas.reshape(rows, columns, height + GAP, width + GAP, channels).swapaxes(1, 2)
    picture = canvas.reshape(rows * (height + GAP), columns * (width + GAP), channels)[:-GAP, :-GAP]
    return picture[..., 0] if channels == 1 else picture


def scatter(points: np.ndarray, levels: int) -> np.ndarray:
    """Points [N, 1, 1, 2] in bins as black pixels, uint8 [levels, levels], the second coordinate upwards."""
    x, y = points[:, 0, 0].astype(int).T
    picture = np.full((levels, levels), 255, np.uint8)
    picture[levels - 1 - y, x] = 0
    return picture


def grey_values(values: np.ndarray, levels: int) -> np.ndarray:
    """uint8 grey values 0 .. 255 of values from 0 to levels - 1; values outside are clipped."""
    return np.round(np.clip(values.astype(np.float32) / (levels - 1), 0, 1) * 255).astype(np.uint8)
