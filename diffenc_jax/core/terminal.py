"""Terminal output: documents and tables within its width, and a console that has a fixed width in a file or a pipe."""

import textwrap
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from diffenc_jax.core.document import Code, Items, Section, Table, Text, is_numeric, numeric_columns
from diffenc_jax.core.text import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 200  # columns in a file or a pipe
GAP = 2  # between columns
LONG_WORD = 16  # longer words of a text, such as the names of files, may be folded


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
                _print(console, _folded(item, console.width, "- ", "  "))
        case Code(text):
            _print(console, text)
        case Text(text):
            for line in text.splitlines():
                _print(console, _folded(line, console.width))


def print_table(table: Table, console: "Console | None" = None) -> None:
    """Print a table under its caption, with columns of numbers aligned on the right.

    Numbers, and names in the first column, are never folded. If the table is wider than the console, its heads and its
    texts are folded; if that is not enough, its rows become columns, or else every row becomes a list.
    """
    console = console or make_console()
    if table.caption:
        _print(console, _folded(table.caption, console.width), "italic")
    rows = [[printable(str(cell)) for cell in row] for row in (table.heads, *table.rows)]
    turned = [list(column) for column in zip(*rows, strict=True)]
    for cells, rights in ((rows, numeric_columns(table)), (turned, [False] * len(rows))):
        if (widths := _widths(cells, console.width, {row[0] for row in rows})) is not None:
            _print_grid(console, cells, rights, widths)
            return
    for name, *values in rows[1:]:
        _print(console, name, "bold")
        for head, value in zip(table.heads[1:], values, strict=True):
            if value:
                _print(console, _folded(f"{head}: {value}", console.width, "  ", "    "))


def _widths(rows: Sequence[Sequence[str]], width: int, names: Collection[str]) -> list[int] | None:
    """Widths of columns in a console of `width`, with folded texts; None if numbers or `names` would be folded."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    least = [
        max(cell_len(cell) if cell in names or is_numeric(cell) else _longest_part(cell) for cell in column)
        for column in columns
    ]
    while sum(widths) + GAP * (len(widths) - 1) > width:
        wide = [number for number in range(len(widths)) if widths[number] > least[number]]
        if not wide:
            return None
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _longest_part(text: str) -> int:
    """Width of the longest word of a text, of which long ones may be folded."""
    return max((min(cell_len(word), LONG_WORD) for word in text.split()), default=0)


def _print_grid(
    console: "Console", rows: Sequence[Sequence[str]], rights: Sequence[bool], widths: Sequence[int]
) -> None:
    """Print rows of cells, the first of which is the head, in columns of these widths."""
    import rich.table
    from rich import box
    from rich.text import Text

    grid = rich.table.Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
        border_style="dim",
    )
    for head, right, width in zip(rows[0], rights, widths, strict=True):
        grid.add_column(Text(head), justify="right" if right else "left", width=width, overflow="fold")
    for row in rows[1:]:
        grid.add_row(*map(Text, row))
    console.print(grid)


def _folded(text: str, width: int, first: str = "", others: str = "") -> str:
    """`text` in lines of at most `width` columns, the `first` and the `others` indented."""
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def _print(console: "Console", text: str, style: str = "") -> None:
    from rich.text import Text

    console.print(Text(printable_lines(text), style), soft_wrap=True)
