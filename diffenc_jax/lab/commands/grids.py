"""Steps that commands share for a grid of arms and seeds: note it, make its runs, and print their summary."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffenc_jax.commands.arguments import positive

if TYPE_CHECKING:
    from diffenc_jax.core.document import Section, Text
    from diffenc_jax.lab.studies.significance.grid import Grid


def add_runs(parser: ArgumentParser) -> None:
    """Add --parallel and --plan, which say how the missing runs are made."""
    parser.add_argument(
        "--parallel", type=positive, default=1, metavar="N", help="simultaneous runs, on this machine's devices"
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="print the commands, one per line, and run none; notes the study in DIR/experiment.json",
    )


def note(grid: "Grid", root: Path) -> None:
    """Check a grid and note it in `root`; raises InputError."""
    import jax

    jax.config.update("jax_platforms", "cpu")  # FLOPs are counted here; the devices are left to the runs
    grid.check(root)
    grid.note_in(root)


def make(grid: "Grid", root: Path, parallel: int) -> list[str]:
    """Make the missing runs of a grid; returns a line per failure."""
    from diffenc_jax.core.terminal import make_console
    from diffenc_jax.lab.studies.significance.measure import make_missing

    return make_missing(grid, root, parallel, make_console())


def summarize(root: Path, reference: str | None, difference: float, across_augmentation: bool = False) -> None:
    """Write and print the summary of the runs in `root`."""
    from diffenc_jax.lab.studies.significance.summary import write_summary

    page, files = write_summary(root, reference, difference, across_augmentation)
    print_page(page)
    if files:
        print(f"written to {root}: {', '.join(path.name for path in files)}")


def print_page(page: "Section | Text") -> None:
    """Print a document, as markdown unless it is read on a terminal."""
    from diffenc_jax.core.document import markdown
    from diffenc_jax.core.terminal import make_console, print_document

    console = make_console()
    if console.is_terminal:
        print_document(page, console)
    else:
        print(markdown(page))


def print_failures(failures: Sequence[str]) -> int:
    """Print a line per failed run, the last that the user sees; returns the exit code."""
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return int(bool(failures))
