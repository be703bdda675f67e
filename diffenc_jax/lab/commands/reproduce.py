"""Repeat a comparison of the paper (arXiv 2310.19789).

Without a name it lists the comparisons: arms, seeds, steps, the published bits/dim, and what they cost.

`diffenc reproduce NAME --root=DIR` trains the missing runs as `diffenc significance` does, and writes its summary.
There measured values stand beside the published ones, and the paper's own test beside ours. Several machines may run
the same command with a common root, such as gs://BUCKET/FOLDER: each run is made by one of them, and if that one is
gone, another one resumes the run. `diffenc significance report --root=DIR` summarizes the existing runs.

--launch prints a command line of launch/ per missing run, with the flags that --flags gives; for tpu it is that of
`launch/tpu.sh watch`, which ends with the run. Run the lines in a checkout, with a root that the jobs can reach.
"""

import shlex
from argparse import ArgumentParser, Namespace

from diffenc_jax.commands.arguments import OVERRIDE, add_difference, place
from diffenc_jax.core.errors import InputError, lookup, require
from diffenc_jax.core.text import require_printable
from diffenc_jax.lab.commands.grids import add_runs, make, note, print_failures, print_page, summarize

# Scripts that make one run, and their action, by name of the launcher.
LAUNCHERS = {
    "slurm": ("launch/slurm.sh", "run"),
    "gke": ("launch/gke.sh", "run"),
    "tpu": ("launch/tpu.sh", "watch"),
}
EXAMPLE = """\
diffenc reproduce cifar10-small --root=gs://BUCKET/small
diffenc reproduce cifar10-large --root=gs://BUCKET/large --launch=tpu \\
    --flags='--zone=Z --type=T --runtime=R --spot'"""
ON_INTERRUPT = "finished work is kept, the same command resumes"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="comparison to repeat (default: list all)")
    parser.add_argument(
        "--root", type=place, metavar="DIR", help="folder of the workdirs, or gs://BUCKET/FOLDER; required with NAME"
    )
    add_difference(parser)
    add_runs(parser)
    parser.add_argument("--launch", choices=LAUNCHERS, help="print a command of this launcher per missing run")
    parser.add_argument("--flags", metavar="FLAGS", help="flags of the launcher, split as by a shell")
    parser.add_argument_group("configuration", "--config.key=value changes a key of all arms, such as train.steps")
    parser.set_defaults(overrides=[])


def run(arguments: Namespace) -> int:
    from diffenc_jax.lab.studies.reproduction.comparisons import COMPARISONS, listing
    from diffenc_jax.lab.studies.significance.measure import missing_runs

    root = arguments.root
    if arguments.name is None:
        given = [f"--{name}" for name in ("root", "plan", "launch", "flags") if getattr(arguments, name)]
        given += [f"{OVERRIDE}key=value"] * bool(arguments.overrides)
        require(not given, f"{(given or [''])[0]} is for a comparison; name one, `diffenc reproduce` lists them")
        print_page(listing())
        return 0
    comparison = lookup("comparison", arguments.name, COMPARISONS)
    require(root is not None, "--root is missing; give --root=DIR or --root=gs://BUCKET/FOLDER")
    require(not (arguments.plan and arguments.launch), "--plan and --launch print different lines; give one of them")
    require(arguments.launch or arguments.flags is None, "--flags is for --launch; leave it out")
    flags = _split(arguments.flags or "")
    grid = comparison.grid(arguments.name, arguments.overrides)
    note(grid, root)
    if arguments.plan:
        print("\n".join(grid.plan(root)))
        return 0
    if arguments.launch:
        for arm, seed in missing_runs(grid, root):
            name, training = f"{grid.config}-{arm}-seed{seed}", grid.training_flags(root, arm, seed)
            print(shlex.join([*LAUNCHERS[arguments.launch], f"--name={name}", *flags, "--", *training]))
        return 0
    failures = make(grid, root, arguments.parallel)
    arguments.wrote_to = [root]
    summarize(root, grid.reference, arguments.difference)
    return print_failures(failures)


def _split(flags: str) -> list[str]:
    require_printable(flags)
    try:
        return shlex.split(flags)
    except ValueError as error:
        raise InputError(f"--flags={flags!r} cannot be split: {error}; check its quotes") from error
