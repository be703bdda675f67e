"""Repeat a comparison of the paper (arXiv 2310.19789).

Without a name it lists the comparisons: arms, seeds, steps, and the published bits/dim.

`diffenc reproduce NAME --root=DIR` trains the missing runs as `diffenc significance` does, and writes its summary. The
summary shows the measured values beside the published values. Several machines may run the same command with a common
root, such as gs://BUCKET/FOLDER. Each run is made by one machine; if this machine is gone, another machine resumes the
run. `diffenc significance report --root=DIR` summarizes the existing runs.
"""

from argparse import ArgumentParser, Namespace

from etils import epy

from diffenc_jax.commands.options import OVERRIDE, location
from diffenc_jax.core.errors import lookup, require
from diffenc_jax.lab.commands.significance import add_runs, make

with epy.lazy_imports():  # help needs none of them
    from diffenc_jax.core import terminal
    from diffenc_jax.lab.comparisons.significance import published

EXAMPLE = "diffenc reproduce cifar10-small --root=gs://BUCKET/small"
ON_INTERRUPT = "finished work is kept, the same command resumes"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="comparison to repeat (default: list all)")
    root = "folder of the workdirs, or gs://BUCKET/FOLDER; required with NAME"
    parser.add_argument("--root", type=location, metavar="DIR", help=root)
    add_runs(parser)
    parser.add_argument_group("configuration", "--config.key=value changes a key of all arms, such as train.steps")
    parser.set_defaults(overrides=[])


def run(arguments: Namespace) -> int:
    if arguments.name is None:
        given = [f"--{name}" for name in ("root", "plan") if getattr(arguments, name)]
        given += [f"{OVERRIDE}key=value"] * bool(arguments.overrides)
        require(not given, f"{(given or [''])[0]} is for a comparison; name one, `diffenc reproduce` lists them")
        terminal.print_document(published.listing(), terminal.make_console())
        return 0
    comparison = lookup("comparison", arguments.name, published.COMPARISONS)
    require(arguments.root is not None, "--root is missing; give --root=DIR or --root=gs://BUCKET/FOLDER")
    return make(comparison.grid(arguments.overrides), arguments)
