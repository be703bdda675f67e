"""Terminal output: documents and tables, and a console that has a fixed width in a file or a pipe."""

from typing import Any

import rich.table
from rich import box, text
from rich.cells import cell_len
from rich.console import Console

from diffenc_jax.core.document import Code, Items, Section, Table, Text, numeric_columns
from diffenc_jax.core.text import printable, printable_lines

PLAIN_WIDTH = 200  # columns in a file or a pipe


def make_console(quiet: bool = False) -> Console:
    """Console on standard output; `PLAIN_WIDTH` wide unless it is a terminal."""
    console = Console(quiet=quiet)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def print_document(block: Any, console: Console) -> None:
    """Print a block of a document and the blocks in it."""
    match block:
        case Section(title, blocks):
            _print(console, title, style="bold")
            for inner in blocks:
                _print(console, "")
                print_document(inner, console)
        case Table():
            print_table(block, console)
        case Items(items):
            for item in items:
                _print(console, f"- {item}")
        case Code(text):
            _print(console, text, soft_wrap=True)
        case Text(text):
            _print(console, text)


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table under its caption, with columns of numbers aligned on the right.

    Texts are folded if the table is wider than the console. Numbers and the first column never are, so that the lines
    of a table with many numbers may be longer than a line of the terminal.
    """
    console = console or make_console()
    if table.caption:
        _print(console, table.caption, style="italic")
    grid = rich.table.Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold"
    )
    rows = [[printable(str(cell)) for cell in row] for row in table.rows]
    for number, (head, is_numeric) in enumerate(zip(table.heads, numeric_columns(table), strict=True)):
        widest = max((cell_len(row[number]) for row in rows), default=1) if is_numeric or not number else None
        grid.add_column(
            text.Text(printable(head)), justify="right" if is_numeric else "left", min_width=widest, overflow="fold"
        )
    for row in rows:
        grid.add_row(*map(text.Text, row))
    console.print(grid, crop=False, soft_wrap=False)


def _print(console: Console, line: str, style: str = "", soft_wrap: bool = False) -> None:
    console.print(text.Text(printable_lines(line), style), soft_wrap=soft_wrap)
