"""A document as plain data, and its form as markdown. Whoever says something says it once, for a terminal or a page."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Items(NamedTuple):
    """A list, an item a line."""

    items: Sequence[str]


class Code(NamedTuple):
    """What is typed into a shell, a command a line."""

    text: str


class Table(NamedTuple):
    """Rows under heads; a row's first cell says what it is about. `caption`: where the section's title does not do."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


class Section(NamedTuple):
    """A title, and what stands under it: blocks, and sections a level below."""

    title: str
    blocks: Sequence[Any]


def markdown(block: Any, level: int = 1) -> str:
    """A block as markdown; a section's title has `level` marks."""
    match block:
        case Section(title, blocks):
            return "\n\n".join([f"{'#' * level} {title}", *(markdown(inner, level + 1) for inner in blocks)])
        case Table(heads, rows, caption):
            return f"{caption}\n\n{table(heads, rows)}" if caption else table(heads, rows)
        case Items(items):
            return "\n".join(f"- {item}" for item in items)
        case Code(text):
            return "\n".join(f"    {line}" for line in text.splitlines())
        case Text(text):
            return text
    raise TypeError(f"{type(block).__name__} has no form in markdown")


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of markdown, its columns filled up so that it reads as plain text too; the first one is left-aligned."""
    lines = [list(map(str, line)) for line in (heads, *rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(heads))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    filled = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [filled[0], rule, *filled[1:]])
