"""Terminal output: tables, and a console that has a fixed width in a file or a pipe."""

from typing import TYPE_CHECKING

from diffenc_jax.display.document import Table, numeric_columns

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 200  # columns in a file or a pipe


def make_console() -> "Console":
    """Console on standard output; `PLAIN_WIDTH` wide unless it is a terminal."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def print_table(table: Table, console: "Console | None" = None) -> None:
    """Print a table under its caption, with columns of numbers aligned on the right and never wrapped."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(title=table.caption or None, title_justify="left")
    for head, numeric in zip(table.heads, numeric_columns(table), strict=True):
        shown.add_column(head, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(str(cell)) for cell in row))
    (console or make_console()).print(shown)
