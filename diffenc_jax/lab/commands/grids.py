"""Steps that commands share for a grid of arms and seeds: note it, make its runs, and print their summary."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from diffenc_jax.commands.arguments import add_plugins, positive, positive_number

if TYPE_CHECKING:
    from diffenc_jax.lab.comparisons.significance.grid import Grid


def add_difference(parser: ArgumentParser) -> None:
    """Add --difference, which the power of a design is reported for."""
    parser.add_argument(
        "--difference",
        type=positive_number,
        default=0.01,
        metavar="BPD",
        help="difference in bits/dim for which the report states how many seeds would detect it",
    )


def add_runs(parser: ArgumentParser) -> None:
    """Add --difference and --plugins, and --parallel and --plan, which say how the missing runs are made."""
    add_difference(parser)
    add_plugins(parser)
    parser.add_argument(
        "--parallel", type=positive, default=1, metavar="N", help="simultaneous runs, on this machine's devices"
    )
    plan = "print the commands, one per line, and run none; notes the study in DIR/experiment.json"
    parser.add_argument("--plan", action="store_true", help=plan)


def make(grid: "Grid", arguments: Namespace) -> int:
    """Check a grid and note it, make its missing runs, and summarize them; or print the plan. Returns the exit code."""
    import jax

    from diffenc_jax.lab.comparisons.significance.measure import make_missing

    root = arguments.root
    jax.config.update("jax_platforms", "cpu")  # FLOPs are counted here; the devices are left to the runs
    grid.check_runs(root)
    grid.note_in(root)
    if arguments.plan:
        print("\n".join(grid.plan(root)))
        return 0
    failures = make_missing(grid, root, arguments.parallel, lambda line: print(line, flush=True))
    arguments.wrote_to = [root]
    summarize(root, grid.reference, arguments.difference, grid.plugins)
    for failure in failures:  # the last that the user sees
        print(f"error: {failure}", file=sys.stderr)
    return int(bool(failures))


def summarize(root: Path, reference: str | None, difference: float, plugins: Collection[str]) -> None:
    """Write and print the summary of the runs in `root`."""
    from diffenc_jax.core.terminal import make_console, print_document
    from diffenc_jax.lab.comparisons.significance.summary import write_summary

    page, files = write_summary(root, reference, difference, plugins)
    print_document(page, make_console())
    if files:
        print(f"written to {root}: {', '.join(path.name for path in files)}")
