"""Terminal output: a console that has a fixed width in a file or a pipe, and documents as Markdown."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from diffenc_jax.core.document import markdown, stored_table, tables_of
from diffenc_jax.core.text import printable

TABLES = "DIFFENC_TABLES"  # variable of the environment
PLAIN_WIDTH = 200  # columns in a file or a pipe


def make_console(quiet: bool = False) -> Console:
    """Console on standard output; `PLAIN_WIDTH` wide unless it is a terminal."""
    return Console(quiet=quiet, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def print_line(console: Console, text: str) -> None:
    """Print one line, which is not folded; control characters are escaped."""
    console.print(Text(printable(text)), soft_wrap=True)


def print_document(block: Any, console: Console | None = None) -> None:
    """Print a block of a document as Markdown.

    Text is folded at the width of the console. Tables and code are not, so that they can be copied. Each table is also
    appended to the file that the environment names in `TABLES`, as a line of JSON with numbers that are not rounded.
    """
    console, file = console or make_console(), os.environ.get(TABLES)
    for line in markdown(block).split("\n"):
        console.print(Text(printable(line)), soft_wrap=line.startswith(("|", "    ")))
    if file:
        with Path(file).open("a") as lines:
            lines.writelines(f"{json.dumps(stored_table(table))}\n" for table in tables_of(block))
