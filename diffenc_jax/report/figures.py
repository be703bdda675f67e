"""Pictures of a page: figures and files of pictures, embedded with their descriptions."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from diffenc_jax.errors import InputError, first_line
from diffenc_jax.significance import plots
from diffenc_jax.significance.plots import Curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A figure has so many dots an inch, and is shown at so many CSS pixels an inch.
DPI, SHOWN = 160, 100


class Picture(NamedTuple):
    """A picture.

    Attributes:
      source: a data URI.
      alt: what is seen, for those who do not see it.
      caption: what it is.
      width, height: as it is shown, CSS pixels.
      pixels: whether it is made of pixels that are to stay sharp when they are enlarged.
    """

    source: str
    alt: str
    caption: str
    width: int
    height: int
    pixels: bool = False


def of_figure(figure: "Figure", alt: str, caption: str) -> Picture:
    """A figure, drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    width, height = (round(size * SHOWN) for size in figure.get_size_inches())
    return Picture(_data_uri(buffer.getvalue()), alt, caption, width, height)


def of_file(path: Path, alt: str, caption: str, pixels: bool) -> Picture:
    """A .png, as it is, and as large as it says that it is.

    Raises:
      InputError: it cannot be read.
    """
    from PIL import Image

    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            dpi = image.info.get("dpi", (SHOWN, SHOWN))
            width, height = (round(n * SHOWN / d) if d > 1 else n for n, d in zip(image.size, dpi, strict=True))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no picture that can be read: {first_line(error)}") from error
    return Picture(_data_uri(data), alt, caption, width, height, pixels)


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def panels(curves: Curves, kinds: Sequence[str], ylabels: Sequence[str], columns: int) -> "Figure":
    """A panel a kind of curve, against the step: a line a name, mean over seeds with a 95 % band.

    Args:
      ylabels: one a kind; what repeats the label on its left is not said again.
    """
    from matplotlib.figure import Figure

    rows = -(-len(kinds) // columns)
    figure = Figure(figsize=(8, 0.6 + 2.6 * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, (axes, kind, ylabel) in enumerate(zip(all_axes, kinds, ylabels, strict=True)):
        plots.lines(axes, curves, kind, marked=False)
        axes.set_ylim(*plots.late({name: {kind: points[kind]} for name, points in curves.items()}))
        if number % columns == 0 or ylabel != ylabels[number - 1]:
            axes.set_ylabel(ylabel)
    if len(curves) > 1:
        figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure
