"""Terminal output: a console that has a fixed width in a file or a pipe, and documents as Markdown."""

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from diffenc_jax.core.document import markdown
from diffenc_jax.core.text import printable

PLAIN_WIDTH = 200  # columns in a file or a pipe


def make_console(quiet: bool = False) -> Console:
    """Console on standard output; `PLAIN_WIDTH` wide unless it is a terminal."""
    return Console(quiet=quiet, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def print_line(console: Console, text: str) -> None:
    """Print one line, which is not folded; control characters are escaped."""
    console.print(Text(printable(text)), soft_wrap=True)


def print_document(block: Any, console: Console | None = None) -> None:
    """Print a block of a document as Markdown.

    Text is folded at the width of the console. Tables and code are not, so that they can be copied.
    """
    console = console or make_console()
    for line in markdown(block).split("\n"):
        console.print(Text(printable(line)), soft_wrap=line.startswith(("|", "    ")))
