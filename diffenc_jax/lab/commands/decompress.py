"""Decompress a file of images, by the run that compressed it.

The file holds the depth, how the images were coded, and fitted times and ratios. Damaged files are refused, and so are
files of another run, other versions or another machine.
"""

import io
from argparse import ArgumentParser, Namespace

from etils import epy

from diffenc_jax.commands.options import add_plugins, location, watched, writable_file

with epy.lazy_imports():  # help needs none of them
    import numpy as np

    from diffenc_jax.core import terminal
    from diffenc_jax.lab.coding import codec
    from diffenc_jax.runs import files, storage, stored

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
    output, content = writable_file("output", arguments.output), io.BytesIO()
    run, file = stored.StoredRun(arguments.workdir), files.read_bytes(arguments.file, ADVICE)
    coder, container = codec.open_file(run, file, str(arguments.file), arguments.plugins)
    count = len(container.checksums)
    with watched(terminal.make_console(), f"decompressing {count} images", count) as on_batch:
        np.save(content, coder.decompress(container, on_batch))
    assert output is not None  # it is required
    storage.write(output, content.getvalue())
    print(f"{count} images: {output}")
