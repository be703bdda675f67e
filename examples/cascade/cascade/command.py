"""Sample whole images from a cascade, or list the bits of its parts.

The runs of the parts are given from the coarse image to the finest details. sample draws --num images and writes their
picture to --output. bits lists the bits/dim of each part's record, in units of the whole image, and their sum.
"""

from argparse import ArgumentParser, Namespace

from diffenc_jax.commands.options import add_changes, changes_of, location, positive, writable_file

EXAMPLE = """\
diffenc cascade bits runs/two-coarse-seed0 runs/two-details-seed0
diffenc cascade sample runs/two-coarse-seed0 runs/two-details-seed0 --num=64 --output=samples.png"""
ON_INTERRUPT = "no file was written"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("sample", "bits"))
    parser.add_argument("runs", nargs="+", type=location, metavar="RUN", help="folder of each part's run, in order")
    parser.add_argument("--num", type=positive, default=16, metavar="N", help="number of images")
    parser.add_argument("-o", "--output", metavar="FILE", help="file to write; replaced if it exists")
    add_changes(parser, "loss", "fit", "sample", "data.dir")


def run(arguments: Namespace) -> None:
    import diffenc_jax as dj
    from cascade.bits import bits_table
    from cascade.chain import Chain
    from diffenc_jax.core import terminal
    from diffenc_jax.core.errors import require
    from diffenc_jax.sampling.pictures import write_picture

    if arguments.action == "bits":
        terminal.print_document(bits_table(arguments.runs))
        return
    output, changes = writable_file("output", arguments.output), changes_of(arguments)
    require(output is not None, "--output is missing; name a file to write")
    assert output is not None
    chain = Chain([dj.open(run, changes, plugins=arguments.plugins) for run in arguments.runs])
    write_picture(chain.sample(arguments.num), chain.transform.levels, output)
    print(f"{arguments.num} images: {output}")
