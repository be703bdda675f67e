"""Decompress a file of images, by the run that compressed it.

The file holds the depth, how the images were coded, and fitted times and ratios. Damaged files are refused, and so are
files of another run, other versions or another machine.
"""

from argparse import ArgumentParser, Namespace

from diffenc_jax.commands.arguments import add_plugins, location, watched, writable_file

EXAMPLE = "diffenc decompress runs/digits-vdm-seed0 digits.diffenc -o digits.npy"
ON_INTERRUPT = "no images were written"
ADVICE = "give a file that `diffenc compress` wrote"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("workdir", type=location, metavar="WORKDIR", help="folder of the run that compressed the file")
    parser.add_argument("file", type=location, metavar="FILE", help="file that `diffenc compress` wrote")
    output = ".npy file to write; replaced if it exists"
    parser.add_argument("-o", "--output", required=True, metavar="IMAGES", help=output)
    add_plugins(parser)


def run(arguments: Namespace) -> None:
    import io

    import numpy as np

    from diffenc_jax.core.terminal import make_console
    from diffenc_jax.lab.coding.codec import open_file
    from diffenc_jax.runs import storage
    from diffenc_jax.runs.files import read_bytes
    from diffenc_jax.runs.stored import StoredRun

    output, content = writable_file("output", arguments.output), io.BytesIO()
    file = read_bytes(arguments.file, ADVICE)
    codec, container = open_file(StoredRun(arguments.workdir), file, str(arguments.file), arguments.plugins)
    count = len(container.checksums)
    with watched(make_console(), f"decompressing {count} images", count) as on_batch:
        np.save(content, codec.decompress(container, on_batch))
    assert output is not None  # it is required
    storage.write(output, content.getvalue())
    print(f"{count} images: {output}")
