"""Decompress a file of images, by the run that compressed it.

The file holds the depth and how the images were coded. Fitted times and ratios are read from WORKDIR/compression, where
`diffenc compress` left them. A file that is damaged, or that was written by another run, other versions or another
machine, is refused. Existing pictures are not replaced; an existing .npy or .npz file is.
"""

from argparse import ArgumentParser, Namespace

from diffenc_jax.commands.arguments import place, watched

EXAMPLE = "diffenc decompress runs/digits-vdm-seed0 digits.diffenc -o digits.npy"
ON_INTERRUPT = "no images were written"
ADVICE = "give a file that `diffenc compress` wrote"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("workdir", type=place, metavar="WORKDIR", help="folder of the run that compressed the file")
    parser.add_argument("file", type=place, metavar="FILE", help="file that `diffenc compress` wrote")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=place,
        metavar="IMAGES",
        help="where to write the images: an .npy file, an .npz file (array images), or a new folder for pictures (PNG)",
    )


def run(arguments: Namespace) -> None:
    from diffenc_jax.core.terminal import make_console
    from diffenc_jax.lab.coding.codec import open_file
    from diffenc_jax.lab.coding.image_files import check_place, write_images
    from diffenc_jax.runs.files import read_bytes

    codec, container = open_file(arguments.workdir, read_bytes(arguments.file, ADVICE), str(arguments.file))
    count, *shape = container.header.shape
    check_place(arguments.output, shape)
    with watched(make_console(), f"decompressing {count} images", count) as on_part:
        images = codec.decompress(container, on_part)
    write_images(arguments.output, images)
    print(f"{count} images: {arguments.output}")
