"""Terminal output: documents and tables within its width, and a console that has a fixed width in a file or a pipe."""

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from diffenc_jax.core.document import Code, Items, Section, Table, Text, numeric_columns
from diffenc_jax.core.text import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 200  # columns in a file or a pipe
GAP = "  "
# A word with what belongs to it, such as '± 0.0031' and '100 %', and the spaces after it.
WORD = re.compile(r"(?:± |\.\. |= |\([pz] )?[^ ]+(?: %)? *| +")
# Longer words, such as the names of files, are folded after '/', '_' and '-', or else after 24 characters.
LONG_WORD = 12
PART = re.compile(r"[^/_-]{1,24}[/_-]*|[/_-]+")
# A text as the pieces between which it may be folded.
Pieces = list[str]


def make_console(quiet: bool = False) -> "Console":
    """Console on standard output; `PLAIN_WIDTH` wide unless it is a terminal."""
    from rich.console import Console

    console = Console(quiet=quiet)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def print_document(block: Any, console: "Console") -> None:
    """Print a block of a document and the blocks in it."""
    match block:
        case Section(title, blocks):
            _print(console, title, "bold")
            for inner in blocks:
                _print(console, "")
                print_document(inner, console)
        case Table():
            print_table(block, console)
        case Items(items):
            for item in items:
                _print(console, "- " + _paragraph(item, console.width - len(GAP)).replace("\n", "\n" + GAP))
        case Code(text):
            _print(console, text)
        case Text(text):
            for line in text.splitlines():
                _print(console, _paragraph(line, console.width))


def print_table(table: Table, console: "Console | None" = None) -> None:
    """Print a table under its caption, with columns of numbers aligned on the right.

    Numbers, and names in the first column, are never folded. If the table is wider than the console, its heads and its
    texts are folded; if that is not enough, its rows become columns, or cells of several numbers are folded between
    the numbers, or every row becomes a list.
    """
    console = console or make_console()
    if table.caption:
        _print(console, _paragraph(table.caption, console.width), "italic")
    whole, folded = _cells(table, numbers_whole=True), _cells(table, numbers_whole=False)
    rights = numeric_columns(table)
    turned = [list(column) for column in zip(*whole, strict=True)]
    for cells, right in ((whole, rights), (turned, [False] * len(turned[0])), (folded, rights)):
        widths = _widths(cells, console.width)
        if _total(widths) <= console.width:
            _print_grid(console, cells, widths, right)
            break
    else:
        _print_lists(console, whole, folded)


def _print_grid(console: "Console", cells: list[list[Pieces]], widths: list[int], right: list[bool]) -> None:
    """Print rows of cells, the first of which is the head."""
    heads, *rows = cells
    _print(console, _row(heads, widths, right, at_bottom=True), "bold")
    _print(console, GAP.join("─" * width for width in widths), "dim")
    for row in rows:
        _print(console, _row(row, widths, right))


def _print_lists(console: "Console", whole: list[list[Pieces]], folded: list[list[Pieces]]) -> None:
    """Print each row as its name and a list of its cells with their heads."""
    width = console.width - len(GAP)
    for heads, *rows in (whole, folded):
        lists = [[pair for pair in zip(heads[1:], row[1:], strict=True) if pair[1]] for row in rows]
        widths = _widths([pair for pairs in lists for pair in pairs], width)
        if _total(widths) <= width:
            break
    for row, pairs in zip(rows, lists, strict=True):
        _print(console, "".join(row[0]), "bold")
        for pair in pairs:
            _print(console, textwrap.indent(_row(pair, widths, [False, False]), GAP))


def _row(cells: Sequence[Pieces], widths: list[int], right: list[bool], at_bottom: bool = False) -> str:
    """The lines of a row, its cells folded."""
    folded = [_fold(cell, width) for cell, width in zip(cells, widths, strict=True)]
    height, lines = max(map(len, folded)), []
    for number in range(height):
        line = []
        for texts, width, is_right in zip(folded, widths, right, strict=True):
            place = number - (height - len(texts)) * at_bottom
            text = texts[place] if 0 <= place < len(texts) else ""
            pad = " " * (width - cell_len(text))
            line.append(pad + text if is_right else text + pad)
        lines.append(GAP.join(line).rstrip())
    return "\n".join(lines)


def _widths(rows: Sequence[Sequence[Pieces]], width: int) -> list[int]:
    """Widths of the columns: the widest is narrowed until all fit into `width`, or until none can be narrower."""
    columns = list(zip(*rows, strict=True))
    widths = [max(cell_len("".join(cell)) for cell in column) for column in columns]
    least = [max((cell_len(piece.rstrip()) for cell in column for piece in cell), default=0) for column in columns]
    while _total(widths) > width:
        wide = [number for number in range(len(widths)) if widths[number] > least[number]]
        if not wide:
            break
        widths[max(wide, key=widths.__getitem__)] -= 1
    return [
        max(cell_len(line) for cell in column for line in _fold(cell, width))
        for column, width in zip(columns, widths, strict=True)
    ]


def _total(widths: list[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _cells(table: Table, numbers_whole: bool) -> list[list[Pieces]]:
    """The cells of a table, heads first."""
    numeric = numeric_columns(table)

    def cell(number: int, text: str) -> Pieces:
        if number == 0 or (numbers_whole and numeric[number]):
            return [text] if text else []
        return WORD.findall(text) if numeric[number] else _pieces(text)

    rows = [[cell(number, printable(str(value))) for number, value in enumerate(row)] for row in table.rows]
    return [[WORD.findall(head) for head in table.heads], *rows]


def _pieces(text: str) -> Pieces:
    """The pieces of a text that may hold numbers and names of files."""
    words = WORD.findall(text)
    return [piece for word in words for piece in (PART.findall(word) if len(word) > LONG_WORD else [word])]


def _fold(pieces: Pieces, width: int) -> list[str]:
    """Lines of at most `width` columns, if each piece fits."""
    lines = [""]
    for piece in pieces:
        if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += piece
    if cell_len(lines[-1]) > width:
        lines[-1] = lines[-1].rstrip()
    return lines


def _paragraph(text: str, width: int) -> str:
    return "\n".join(_fold(_pieces(text), width))


def _print(console: "Console", text: str, style: str = "") -> None:
    console.print(printable_lines(text), style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)
