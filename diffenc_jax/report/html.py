"""A page from plain data. All text is escaped by the template engine; nothing in the page is fetched or run."""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from diffenc_jax.compare import UNKNOWN
from diffenc_jax.document import Section, Table

# What the cells of a column of figures are, but for those that are empty: '1.8912 ± 0.0031', '1.2 .. 1.3', '3e-05'.
FIGURE = re.compile(r"(?:[-−+±\d.,e ()–]| or ){1,40}|-?inf|nan")
NONE = ("", "-", UNKNOWN)


class Fold(NamedTuple):
    """What is read by those who open it, and by all in print."""

    title: str
    blocks: Sequence[Any]


class Marked(str):
    """A cell that stands out."""


class Headline(NamedTuple):
    """A number, what it is of, and its errors."""

    title: str
    value: str
    remark: str


class Page(NamedTuple):
    """A title, what matters most, and sections."""

    title: str
    lead: Sequence[Any]
    headlines: Sequence[Headline]
    after: Sequence[Any]
    sections: Sequence[Section]


class _Headed(NamedTuple):
    """A section with its place in the page: the name that links lead to, and the level of its heading."""

    title: str
    blocks: Sequence[Any]
    anchor: str
    level: int


def render(page: Page) -> str:
    """The page as HTML; what is no Unicode in the names of files becomes question marks."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("diffenc_jax.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"kind": kind, "figures": figures, "breakable": breakable}
    taken: set[str] = set()
    sections = [_headed(section, 2, taken) for section in page.sections]
    css = (files("diffenc_jax.report") / "page.css").read_text()
    text = environment.get_template("page.html").render(page=page, sections=sections, css=css)
    return text.encode("utf-8", "replace").decode()


def kind(block: Any) -> str:
    """'text', 'table', 'picture', ...: what a block is called in the template."""
    return type(block).__name__.strip("_").lower()


def breakable(cell: Any) -> Any:
    """Markup of a cell in which a line may end after the dots of a key such as 'train.steps'."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.findall(r"[^.]*\.?", str(cell))) if " " not in str(cell) else cell


def figures(table: Table) -> list[bool]:
    """Which columns hold figures, and so are aligned on the right; the first one never is."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.heads)
    return [number > 0 and _are_figures(map(str, column)) for number, column in enumerate(columns)]


def _are_figures(cells) -> bool:
    said = [cell for cell in cells if cell not in NONE]
    return all(FIGURE.fullmatch(cell) for cell in said)


def _headed(section: Section, level: int, taken: set[str]) -> _Headed:
    anchor = base = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
    number = 1
    while anchor in taken:
        number += 1
        anchor = f"{base}-{number}"
    taken.add(anchor)
    blocks = [_headed(b, level + 1, taken) if isinstance(b, Section) else b for b in section.blocks]
    return _Headed(section.title, blocks, anchor, level)
