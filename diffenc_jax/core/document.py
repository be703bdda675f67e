"""Documents as plain data, and as Markdown. One description serves terminal, file and page."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from diffenc_jax.core.numbers import UNKNOWN, Figure
from diffenc_jax.core.text import printable

# Cells that hold numbers: '1.8912 ± 0.0031', '1.2 .. 1.3', '3e-05', '100.0 %', '2.1 (p 0.3)'.
NUMBERS = re.compile(r"(?:[-−+±\d.,e ()–%]| or |\([pz] ){1,40}|-?inf|nan")


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Items(NamedTuple):
    """A list with one item per line."""

    items: Sequence[str]


class Code(NamedTuple):
    """Shell commands, one per line."""

    text: str


class Table(NamedTuple):
    """Rows under column heads. The first cell of a row names its subject.

    Attributes:
      rows: cells: texts, whole numbers, and for other numbers a `Figure`.
      caption: title of the table; empty where the title of the section is enough.
      unit: unit of the numbers whose column has none in its head, such as 'step, s'. It is stored, and not shown.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    unit: str = ""


class Section(NamedTuple):
    """A title and its blocks, which may be sections of the next level."""

    title: str
    blocks: Sequence[Any]


def tables_of(block: Any, about: Sequence[str] = ()) -> Iterator[Table]:
    """The tables of a block. One without a caption gets the title of its section and the paragraphs before it."""
    if isinstance(block, Table):
        yield block if block.caption else block._replace(caption=". ".join(about))
    elif isinstance(block, Section):
        said = [block.title]
        for inner in block.blocks:
            if isinstance(inner, Text):
                said.append(inner.text)
            yield from tables_of(inner, said)


def stored_table(table: Table) -> dict[str, Any]:
    """JSON values of a table: its attributes, and for a `Figure` its form, then its values."""
    rows = [[[cell.form, *cell.values] if isinstance(cell, Figure) else cell for cell in row] for row in table.rows]
    return table._asdict() | {"heads": [*table.heads], "rows": rows}


def read_table(stored: Mapping[str, Any]) -> Table:
    """The table of `stored_table`."""
    rows = [[Figure(*cell) if isinstance(cell, list) else cell for cell in row] for row in stored["rows"]]
    return Table(**{**stored, "rows": rows})


def numeric_columns(table: Table) -> list[bool]:
    """For each column, whether it is aligned on the right: it holds only numbers, and it is not the first column."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.heads)
    return [
        number > 0 and all(cell in ("", UNKNOWN) or NUMBERS.fullmatch(str(cell)) for cell in column)
        for number, column in enumerate(columns)
    ]


def markdown(block: Any, level: int = 1) -> str:
    """Markdown of a block; the title of a section begins with `level` hash signs."""
    match block:
        case Section(title, blocks):
            return "\n\n".join([f"{'#' * level} {title}", *(markdown(inner, level + 1) for inner in blocks)])
        case Table(caption=caption):
            return f"{caption}\n\n{_markdown_table(block)}" if caption else _markdown_table(block)
        case Items(items):
            return "\n".join(f"- {item}" for item in items)
        case Code(text):
            return "\n".join(f"    {line}" for line in text.splitlines())
        case Text(text):
            return text
    raise TypeError(f"{type(block).__name__} has no markdown form")


def _markdown_table(table: Table) -> str:
    """Table that also reads as plain text: cells are padded, and columns of numbers are aligned on the right."""
    columns = []
    for right, *cells in zip(numeric_columns(table), table.heads, *table.rows, strict=True):
        texts = [printable(str(cell)) for cell in cells]
        width = max(3, *map(len, texts))
        head, *others = (text.rjust(width) if right else text.ljust(width) for text in texts)
        columns.append([head, "-" * (width - right) + ":" * right, *others])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*columns, strict=True))
