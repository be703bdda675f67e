"""Pictures of images as a grid, or of two-dimensional points as a scatter plot."""

import io
import math
from pathlib import Path

import numpy as np

from diffenc_jax.runs import storage

MIN_WIDTH = 480  # pixels: a picture is enlarged by an integer factor to at least this width
GAP = 1
SHOWN = 100
POINT = (1, 1, 2)  # images of this shape are two-dimensional points


def write_picture(images: np.ndarray, levels: int, path: Path) -> None:
    """Write the first `SHOWN` of uint8 [N, H, W, C] as a grid, or all points as a scatter plot; see `picture`."""
    from PIL import Image

    shown = images if images.shape[1:] == POINT else images[:SHOWN]
    content = io.BytesIO()
    Image.fromarray(picture(shown, levels)).save(content, "PNG")
    storage.write(path, content.getbuffer())


def picture(values: np.ndarray, levels: int) -> np.ndarray:
    """`grid` of images, or `scatter` of points, uint8 [h, w] or [h, w, 3]."""
    drawn = scatter(values, levels) if values.shape[1:] == POINT else grid(values, levels)
    factor = math.ceil(MIN_WIDTH / drawn.shape[1])
    return drawn.repeat(factor, axis=0).repeat(factor, axis=1)


def grid(images: np.ndarray, levels: int) -> np.ndarray:
    """Arrange images [N, H, W, C] as one picture, uint8 [h, w] or [h, w, 3], with as many rows as columns or one less.

    Images with another number of channels than one or three show their channels side by side.

    Args:
      images: pixels 0 .. levels - 1.
      levels: number V of pixel levels.
    """
    n, height, width, channels = images.shape
    if channels not in (1, 3):
        images = images.transpose(0, 1, 3, 2).reshape(n, height, width * channels, 1)
        width, channels = width * channels, 1
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    canvas = np.full((rows * columns, height + GAP, width + GAP, channels), 255, np.uint8)
    canvas[:n, :height, :width] = np.round(np.clip(images.astype(np.float32) / (levels - 1), 0, 1) * 255)
    canvas = canvas.reshape(rows, columns, height + GAP, width + GAP, channels).swapaxes(1, 2)
    picture = canvas.reshape(rows * (height + GAP), columns * (width + GAP), channels)[:-GAP, :-GAP]
    return picture[..., 0] if channels == 1 else picture


def scatter(points: np.ndarray, levels: int) -> np.ndarray:
    """Points [N, 1, 1, 2] in bins as black pixels, uint8 [levels, levels], the second coordinate upwards."""
    x, y = np.clip(np.round(points[:, 0, 0]), 0, levels - 1).astype(int).T
    picture = np.full((levels, levels), 255, np.uint8)
    picture[levels - 1 - y, x] = 0
    return picture
