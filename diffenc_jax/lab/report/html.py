"""Pages as HTML. The template engine escapes all text, and the page loads and runs nothing."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from diffenc_jax.core.document import Section, numeric_columns
from diffenc_jax.core.text import printable_lines
from diffenc_jax.lab.figures.style import figure_bytes
from diffenc_jax.runs.files import read_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A page has it within its first bytes.
MARK = b'<meta name="generator" content="diffenc report"'
SHOWN = 155  # CSS pixels per inch of a figure


class Fold(NamedTuple):
    """Blocks that are shown after a click on their title."""

    title: str
    blocks: Sequence[Any]


class Card(NamedTuple):
    """A number with its title, its errors, and the colour that its arm has in figures."""

    title: str
    value: str
    remark: str
    colour: str


class Picture(NamedTuple):
    """An embedded picture.

    Attributes:
      source: data URI.
      alt: description for readers who do not see the picture.
      width: displayed width in CSS pixels; None for a picture of few pixels, which is enlarged.
    """

    source: str
    alt: str
    caption: str
    width: int | None = None


def embed_figure(figure: "Figure", caption: str, alt: str = "") -> Picture:
    """Picture of a matplotlib figure."""
    width = round(figure.get_size_inches()[0] * SHOWN)
    return Picture(_data_uri(figure_bytes(figure, "png")), alt or caption, caption, width)


def embed_file(path: Path, caption: str) -> Picture:
    """Picture of a .png file; raises InputError if it cannot be read."""
    return Picture(_data_uri(read_bytes(path)), caption, caption)


def _data_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def render(title: str, cards: Sequence[Card], lead: Sequence[Any], sections: Sequence[Section]) -> str:
    """HTML of a page with numbers and blocks at its head.

    Control characters, and bytes in names of files that are not Unicode, are shown escaped.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(trim_blocks=True, lstrip_blocks=True, autoescape=True, undefined=StrictUndefined)
    environment.loader = PackageLoader("diffenc_jax.lab.report", "")
    environment.filters |= {"kind": lambda block: type(block).__name__, "numeric": numeric_columns}
    template = environment.get_template("page.html")
    return printable_lines(template.render(title=title, cards=cards, lead=lead, sections=sections))
