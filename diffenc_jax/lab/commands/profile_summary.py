"""Print where the time of a training step goes, from a profile that `diffenc train --profile=FIRST:LAST` wrote.

Prints the time by part of the step (encoder, score network, losses, optimizer, noise) and the operations that take
longest, with their shares and scopes. Times are those of an operation itself, without the operations that it calls,
summed over threads and devices. The newest profile in the workdir is read.
"""

from argparse import ArgumentParser, Namespace

from diffenc_jax.commands.arguments import place, positive

EXAMPLE = """\
diffenc train --config=digits --config.train.steps=20 --profile=10:15 \\
    --workdir=runs/profiled
diffenc profile-summary runs/profiled"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("workdir", type=place, metavar="WORKDIR", help="folder of the run")
    parser.add_argument("--top", type=positive, default=10, metavar="N", help="number of operations")


def run(arguments: Namespace) -> None:
    from diffenc_jax.core.terminal import print_table
    from diffenc_jax.lab.studies.profile.measure import read_profile
    from diffenc_jax.lab.studies.profile.table import about, operations_table, parts_table

    profile = read_profile(arguments.workdir)
    print(f"{profile.folder}\n{about(profile)}")
    for table in (parts_table(profile), operations_table(profile, arguments.top)):
        print()
        print_table(table)
