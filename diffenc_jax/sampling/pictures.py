"""Pictures of images side by side, or of two-dimensional points as a scatter plot, drawn with Pillow."""

import colorsys
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.runs.files import save_picture

if TYPE_CHECKING:
    from diffenc_jax.sampling.draw import Frame, Reconstruction

MIN_WIDTH = 480  # pixels: a grid is enlarged by an integer factor to at least this width, a scatter plot has it
GAP = 1
SHOWN = 100
POINT = (1, 1, 2)  # images of this shape are two-dimensional points
POINTS_SHOWN = 10_000
POINTS_PER_PANEL = 2000
FILM_IMAGES, FILM_WIDTH = 25, 320
MILLISECONDS, LAST_MILLISECONDS = 100, 3000
VERSION_IMAGES, VERSION_WIDTH = 12, 720  # images per row of versions, and pixels of such a row
MARGIN, CAPTION, SIDE_CAPTION, NOTE = 14, 36, 120, 30  # pixels around pictures, above them, to their left, and below
RADIUS, DETAIL = 1.1, 4  # pixels: radius of a point, and the factor by which a scatter plot is drawn larger at first
BLUE, GREY, BLACK, WHITE = (0, 114, 178), (77, 77, 77), (0, 0, 0), (255, 255, 255)
SAMPLED = "sampled anew from z_t, the noisy image at time t; log SNR = -gamma"


def num_shown(shape: tuple[int, ...], images: int) -> int:
    """Number of images of `shape` in a panel that has room for `images`, or for `POINTS_PER_PANEL` points."""
    return POINTS_PER_PANEL if shape == POINT else images


def write_picture(images: np.ndarray, levels: int, path: Path, columns: int | None = None) -> None:
    """Write the first images of uint8 [N, H, W, C]: `SHOWN` as a grid, or `POINTS_SHOWN` points as a scatter plot.

    `columns` as in `grid`.
    """
    if images.shape[1:] == POINT:
        axes = f"bins 0 .. {levels - 1}: first coordinate to the right, second upwards"
        _save(side_by_side({axes: scatter(images[:POINTS_SHOWN], levels)}), path)
    else:
        _save(grid(images[:SHOWN], levels, columns), path)


def write_film(frames: "Sequence[Frame]", levels: int, path: Path) -> None:
    """Write a GIF of the frames with z on the left and x̂ on the right; the last frame stays longer."""
    from PIL import Image

    pictures = []
    for frame in frames:
        captions = f"noisy z_t at log SNR {-frame.gamma:+.2f}", "estimate of the encoded image x_t"
        panels = (panel(values, levels, min_width=FILM_WIDTH) for values in (frame.z, frame.x_hat))
        pictures.append(Image.fromarray(side_by_side(dict(zip(captions, panels, strict=True)))))
    times = [MILLISECONDS] * (len(frames) - 1) + [LAST_MILLISECONDS]
    options = {"save_all": True, "append_images": pictures[1:], "duration": times, "loop": 0, "optimize": False}
    save_picture(pictures[0], path, "GIF", **options)


def write_reconstructions(originals: np.ndarray, rows: "list[Reconstruction]", levels: int, path: Path) -> None:
    """Write the picture of uint8 `originals` [N, H, W, C] and their reconstructions."""
    versions = {f"t = {row.t:g}\nlog SNR {-row.gamma:.2f}": row.images for row in rows}
    write_versions({"original": originals} | versions, levels, SAMPLED, path)


def write_versions(versions: Mapping[str, np.ndarray], levels: int, note: str, path: Path) -> None:
    """Write a picture of uint8 [N, H, W, C] by caption, the originals first: rows of images, or panels of points.

    `note`, below them, explains the captions. The colour of a point shows the direction of its original.
    """
    originals = next(iter(versions.values()))
    if originals.shape[1:] == POINT:
        angles = np.arctan2(*(originals[:, 0, 0].astype(float) - levels / 2).T)
        colours = [tuple(round(255 * c) for c in colorsys.hsv_to_rgb(a / math.tau % 1, 1, 0.9)) for a in angles]
        panels = {caption.replace("\n", ", "): scatter(v, levels, 240, colours) for caption, v in versions.items()}
        note = f"{note.replace('image', 'point')}; colour: the direction of the original from the centre"
        picture = side_by_side(panels, note)
    else:
        count = len(originals)
        strips = {c: grid(v, levels, count, VERSION_WIDTH * count // VERSION_IMAGES) for c, v in versions.items()}
        picture = _stacked(strips, note)
    _save(picture, path)


def panel(values: np.ndarray, levels: int, columns: int | None = None, min_width: int = MIN_WIDTH) -> np.ndarray:
    """`grid` of images, or `scatter` of points."""
    is_points = values.shape[1:] == POINT
    return scatter(values, levels, min_width) if is_points else grid(values, levels, columns, min_width)


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


def scatter(
    points: np.ndarray, levels: int, side: int = MIN_WIDTH, colours: Sequence[tuple[int, ...]] | None = None
) -> np.ndarray:
    """A framed scatter plot, uint8 [side, side, 3], of points [N, 1, 1, 2] in bins, which are blue by default."""
    from PIL import Image, ImageDraw

    large = side * DETAIL
    picture = Image.new("RGB", (large, large), WHITE)
    draw = ImageDraw.Draw(picture)
    places = (points[:, 0, 0].astype(float) + 1) * (large / (levels + 1))
    for (x, y), colour in zip(places.tolist(), colours or [BLUE] * len(points), strict=True):
        draw.circle((x, large - y), RADIUS * DETAIL, fill=colour)
    draw.rectangle((0, 0, large - 1, large - 1), outline=BLACK, width=DETAIL)
    return np.asarray(picture.reduce(DETAIL))


def side_by_side(panels: Mapping[str, np.ndarray], note: str = "") -> np.ndarray:
    """Pictures of one size, uint8 [h, w] or [h, w, 3], below their captions and above a note, as one [H, W, 3]."""
    height, width = next(iter(panels.values())).shape[:2]
    step, size = width + MARGIN, 14 if width > 2 * SIDE_CAPTION else 11
    placed = [(MARGIN + step * number, CAPTION, picture) for number, picture in enumerate(panels.values())]
    texts = [(x + width / 2, CAPTION / 2, text, "mm", size) for (x, _, _), text in zip(placed, panels, strict=True)]
    below = CAPTION + height + MARGIN
    texts += [(MARGIN, below + NOTE / 3, note, "lm", 11)] if note else []
    return _composed(MARGIN + step * len(panels), below + bool(note) * NOTE, placed, texts)


def _stacked(strips: Mapping[str, np.ndarray], note: str) -> np.ndarray:
    """Pictures of one size below each other, with their captions to the left and a note below."""
    height, width = next(iter(strips.values())).shape[:2]
    step = height + MARGIN
    placed = [(SIDE_CAPTION, MARGIN + step * number, picture) for number, picture in enumerate(strips.values())]
    texts = [(float(MARGIN), y + height / 2, text, "lm", 14) for (_, y, _), text in zip(placed, strips, strict=True)]
    below = MARGIN + step * len(strips)
    texts.append((SIDE_CAPTION, below + NOTE / 3, note, "lm", 12))
    return _composed(SIDE_CAPTION + max(width, VERSION_WIDTH) + MARGIN, below + NOTE, placed, texts)


def _composed(
    width: int,
    height: int,
    placed: Sequence[tuple[int, int, np.ndarray]],
    texts: Sequence[tuple[float, float, str, str, int]],
) -> np.ndarray:
    """uint8 [height, width, 3] with pictures at pixels (x, y), and texts at (x, y) by Pillow's anchor and size."""
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", (width, height), WHITE)
    for x, y, picture in placed:
        sheet.paste(Image.fromarray(picture), (x, y))
    draw = ImageDraw.Draw(sheet)
    for left, middle, text, anchor, size in texts:
        draw.text((left, middle), text, BLACK if size > 12 else GREY, anchor=anchor, font_size=size)
    return np.asarray(sheet)


def _save(picture: np.ndarray, path: Path) -> None:
    from PIL import Image

    save_picture(Image.fromarray(picture), path, "PNG")
