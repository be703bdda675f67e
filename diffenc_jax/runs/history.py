"""Commands that wrote into a folder, so that its contents can be made again."""

from pathlib import Path

from diffenc_jax.core.text import printable
from diffenc_jax.runs.files import read_if_present, write_text

FILE = "commands.txt"


def note_command(folder: Path, line: str) -> None:
    """Add a shell command to those of `folder`, unless it is there already."""
    line, lines = printable(line), noted_commands(folder)
    if line not in lines:
        write_text(folder / FILE, "\n".join([*lines, line]) + "\n")


def noted_commands(folder: Path) -> list[str]:
    """The shell commands that wrote into `folder`, in the order in which they first succeeded."""
    text = read_if_present(folder / FILE).decode(errors="replace")
    return [printable(line) for line in text.splitlines()]
