"""Pictures of a page: figures and picture files, embedded with their descriptions."""

import base64
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from diffenc_jax.core.errors import InputError, first_line
from diffenc_jax.lab.figures.style import figure_bytes
from diffenc_jax.runs.files import read_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_BYTES, PIXELS = 2**26, 2**25  # no picture of a run is larger
# CSS pixels per inch at which a figure is shown.
SHOWN = 130


class Picture(NamedTuple):
    """An embedded picture.

    Attributes:
      source: data URI.
      alt: description for readers who do not see the picture.
      caption: title below the picture.
      width, height: size at which it is shown, in CSS pixels.
      pixels: whether its pixels stay sharp when it is enlarged.
    """

    source: str
    alt: str
    caption: str
    width: int
    height: int
    pixels: bool = False


def embed_figure(figure: "Figure", alt: str, caption: str) -> Picture:
    """Picture of a matplotlib figure."""
    width, height = (round(size * SHOWN) for size in figure.get_size_inches())
    return Picture(_data_uri(figure_bytes(figure, "png"), "png"), alt, caption, width, height)


def embed_file(path: Path, alt: str, caption: str, pixels: bool) -> Picture:
    """Picture of a .png or .gif file, in the size that the file states; raises InputError if it cannot be read."""
    from PIL import Image

    data = read_bytes(path, most=PICTURE_BYTES)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "GIF"]) as image:
            if math.prod(image.size) > PIXELS:
                raise ValueError(f"it has {math.prod(image.size):,} pixels, of which at most {PIXELS:,} are shown")
            image.load()
            kind = str(image.format).lower()
            dpi = image.info.get("dpi", (SHOWN, SHOWN))
            width, height = (round(n * SHOWN / d) if d > 1 else n for n, d in zip(image.size, dpi, strict=True))
    except Exception as error:  # Pillow raises errors of many kinds
        raise InputError(f"{path} is not a readable picture: {first_line(error)}") from error
    return Picture(_data_uri(data, kind), alt, caption, width, height, pixels)


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
