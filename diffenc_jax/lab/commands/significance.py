"""Train arms by seeds and test the differences between the arms.

`diffenc significance --config=NAME --arms=A,B --seeds=0-4 --root=DIR` trains the missing runs. Every run is a process
with its own workdir, DIR/<arm>-seed<seed>, and resumes where it stopped. The noise of its evaluation follows from its
seed, so the arms of one seed have common noise. Then a training step of each arm is measured, and the summary is
written: significance.md, unrounded numbers in significance.json, and figures.

`--final=loss.variance_ratio=optimal_pixel` compares the same trained runs by another evaluation.

Several machines may run the same command with a common root, such as gs://BUCKET/FOLDER. Each run is made by one
machine; if this machine is gone, another machine resumes the run.

`diffenc significance report --root=DIR` summarizes the existing runs and names the missing runs. It replaces an
earlier summary.
"""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from diffenc_jax.commands.arguments import add_config, add_plugins, location, positive, positive_number

if TYPE_CHECKING:
    from diffenc_jax.lab.comparisons.significance.grid import Grid

EXAMPLE = """\
diffenc significance --config=digits --arms=vdm,diffenc --seeds=0-4 \\
    --root=runs/digits-seeds
diffenc significance report --root=runs/digits-seeds"""
ON_INTERRUPT = "finished work is kept, the same command resumes"
MOST_SEEDS = 10_000
NEEDED = ("config", "arms", "seeds")


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("action", nargs="?", choices=("report",), metavar="report", help="summarize the existing runs and train none")
    add("--root", type=location, required=True, metavar="DIR", help="folder of the workdirs")
    add_config(parser, required=False)
    add("--arms", type=_parts, metavar="ARM,...", help="arms to compare; required, except for report")
    text = "seeds, such as 0-4 or 0,2,7; required, except for report"
    add("--seeds", type=seed_numbers, metavar="SEED,...", help=text)
    reference = "arm to compare the others with (default: the first; for report, that of the study in DIR)"
    add("--reference", metavar="ARM", help=reference)
    add("--passes", type=positive, metavar="P", help="passes of the final evaluation (default: eval.passes)")
    final = "change a key of eval, fit, loss or ode only for the final evaluation; may be repeated"
    add("--final", action="append", default=[], metavar="KEY=VALUE", help=final)
    add_runs(parser)


def run(arguments: Namespace) -> int:
    from diffenc_jax.config.load import read_changes
    from diffenc_jax.core import parts
    from diffenc_jax.core.errors import require, require_printable
    from diffenc_jax.core.keys import keys_of
    from diffenc_jax.lab.comparisons.significance.grid import Grid

    require_printable(arguments.reference or "")
    if arguments.action:
        given = [f"--{name}" for name in (*NEEDED, "passes", "final", "plan") if vars(arguments)[name]]
        given += ["--config.key=value"] * bool(arguments.overrides)
        require(not given, f"report does not read {', '.join(given)}: it takes the runs as they are")
        summarize(arguments.root, arguments.reference, arguments.difference, arguments.plugins)
        return 0
    missing = [f"--{name}" for name in NEEDED if not getattr(arguments, name)]
    text = "give --config, --arms, --seeds and --root, or report and --root"
    require(not missing, f"{', '.join(missing)} is missing; {text}")
    values = {name: vars(arguments)[name] for name in keys_of(Grid)}
    values["reference"] = arguments.reference or arguments.arms[0]
    plugins = {*arguments.plugins, *parts.packages_of(parts.allowed(read_changes(arguments.final)))}
    return make(Grid(**values, plugins=plugins), arguments)


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    if len(set(parts)) < len(parts) or "" in parts or any(" " in part for part in parts):
        raise ArgumentTypeError(f"{text!r} must name each one once, separated by commas")
    return parts


def seed_numbers(text: str) -> tuple[int, ...]:
    """Argument type: different seeds, such as 0-4 or 0,2,7."""
    seeds: list[int] = []
    for part in _parts(text):
        first, _, last = part.partition("-")
        known = first.isdecimal() and (last or first).isdecimal()
        size = int(last or first) - int(first) + 1 if known else 0
        if not 1 <= size <= MOST_SEEDS:
            raise ArgumentTypeError(f"{text!r} must be seeds such as 0-4, or 0,2,7, at most {MOST_SEEDS} of them")
        seeds += range(int(first), int(first) + size)
    if len(set(seeds)) < len(seeds):
        raise ArgumentTypeError(f"{text!r} names a seed twice")
    return tuple(seeds)


def add_difference(parser: ArgumentParser) -> None:
    """Add --difference, the difference for which the power of a design is reported."""
    text = "difference in bits/dim for which the report states how many seeds would detect it"
    parser.add_argument("--difference", type=positive_number, default=0.01, metavar="BPD", help=text)


def add_runs(parser: ArgumentParser) -> None:
    """Add --difference and --plugins, and --parallel and --plan, which control how the missing runs are made."""
    add_difference(parser)
    add_plugins(parser)
    parallel = "simultaneous runs, on this machine's devices"
    parser.add_argument("--parallel", type=positive, default=1, metavar="N", help=parallel)
    plan = "print the commands, one per line, and run none; notes the study in DIR/grid.json"
    parser.add_argument("--plan", action="store_true", help=plan)


def make(grid: "Grid", arguments: Namespace) -> int:
    """Check and note a grid, make its missing runs, and summarize, or print the plan; returns the exit code."""
    import jax

    from diffenc_jax.lab.comparisons.significance.jobs import make_missing

    root = arguments.root
    jax.config.update("jax_platforms", "cpu")  # FLOPs are counted here; the devices are left to the runs
    grid.check_runs(root)
    grid.note_in(root)
    if arguments.plan:
        print("\n".join(grid.plan(root)))
        return 0
    # A line is one call, since several threads print.
    failures = make_missing(grid, root, arguments.parallel, lambda line: print(f"{line}\n", end="", flush=True))
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
