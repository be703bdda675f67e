"""Pages as HTML. The template engine escapes all text, and the page loads and runs nothing."""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from diffenc_jax.core.document import Section, numeric_columns
from diffenc_jax.core.text import printable_lines

# A page has it within its first bytes.
MARK = b'<meta name="generator" content="diffenc report">'


class Fold(NamedTuple):
    """Blocks that a click on their title shows; in print they are always shown."""

    title: str
    blocks: Sequence[Any]


class Marked(str):
    """A highlighted cell."""


class Card(NamedTuple):
    """A number with its title, its errors, and the colour that its arm has in figures."""

    title: str
    value: str
    remark: str
    colour: str


class Page(NamedTuple):
    """A title, the blocks and numbers that lead the page, the blocks below them, and the sections."""

    title: str
    lead: Sequence[Any]
    cards: Sequence[Card]
    after: Sequence[Any]
    sections: Sequence[Section]


class _Headed(NamedTuple):
    """A section with the anchor of links to it and the level of its heading."""

    title: str
    blocks: Sequence[Any]
    anchor: str
    level: int


def render(page: Page) -> str:
    """HTML of a page. Control characters, and bytes in names of files that are not Unicode, are shown escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("diffenc_jax.lab.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"kind": _kind, "numeric": numeric_columns, "breakable": _breakable}
    taken: set[str] = set()
    sections = [_headed(section, 2, taken) for section in page.sections]
    css = (files("diffenc_jax.lab.report") / "page.css").read_text()
    text = environment.get_template("page.html").render(page=page, sections=sections, css=css)
    return printable_lines(text)


def _kind(block: Any) -> str:
    """Name of a block's type in the template: 'text', 'table', 'picture', ..."""
    return type(block).__name__.strip("_").lower()


def _breakable(cell: Any) -> Any:
    """Markup of a cell in which a line may break after the dots of a key such as 'train.steps'."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.findall(r"[^.]*\.?", str(cell))) if " " not in str(cell) else cell


def _headed(section: Section, level: int, taken: set[str]) -> _Headed:
    anchor = base = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
    number = 1
    while anchor in taken:
        number += 1
        anchor = f"{base}-{number}"
    taken.add(anchor)
    blocks = [_headed(b, level + 1, taken) if isinstance(b, Section) else b for b in section.blocks]
    return _Headed(section.title, blocks, anchor, level)
