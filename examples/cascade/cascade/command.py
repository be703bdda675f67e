"""Sample whole images from a cascade, compress and decompress them, or list the bits of its parts.

The runs of the parts are given from the coarse image to the finest details.

sample draws --num images and writes their picture to --output. compress writes the first --num images of the split to
--output, and decompress reads --file and writes the images to --output, a .npy file; both need
--config.loss.depth=T. bits lists the bits/dim of each part's record, in units of the whole image, and their sum.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from diffenc_jax.commands.arguments import add_changes, add_keys, changes_of, place, positive, values_of, writable_file
from diffenc_jax.lab.coding.choices import Compression

if TYPE_CHECKING:
    from cascade.chain import Chain

EXAMPLE = """\
diffenc cascade bits runs/two-coarse-seed0 runs/two-details-seed0
diffenc cascade sample runs/two-coarse-seed0 runs/two-details-seed0 --num=64 --output=samples.png"""
ON_INTERRUPT = "no file was written"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("sample", "compress", "decompress", "bits"))
    parser.add_argument("runs", nargs="+", type=place, metavar="RUN", help="folder of the run of each part, in order")
    parser.add_argument("--num", type=positive, default=16, metavar="N", help="number of images")
    parser.add_argument("--file", type=place, metavar="FILE", help="file to decompress")
    parser.add_argument("-o", "--output", metavar="FILE", help="file to write; replaced if it exists")
    add_keys(parser, Compression)
    add_changes(parser, "loss", "fit", "sample", "eval.dtype", "data.dir")


def run(arguments: Namespace) -> None:
    from diffenc_jax.core.errors import require

    if arguments.action == "bits":
        from cascade.bits import bits_table
        from diffenc_jax.core.document import markdown

        print(markdown(bits_table(arguments.runs)))
        return
    output = writable_file("output", arguments.output)
    require(output is not None, "--output is missing; name a file to write")
    assert output is not None
    require((arguments.action == "decompress") == (arguments.file is not None), "--file is what decompress reads")
    ACTIONS[arguments.action](arguments, output)


def sample(arguments: Namespace, output: Path) -> None:
    from diffenc_jax.sampling.pictures import write_picture

    chain = _chain(arguments)
    write_picture(chain.sample(arguments.num), chain.transform.levels, output)
    print(f"{arguments.num} images: {output}")


def compress(arguments: Namespace, output: Path) -> None:
    import numpy as np

    from diffenc_jax.core.document import Table, markdown
    from diffenc_jax.core.numbers import format_number
    from diffenc_jax.runs import storage

    chain = _chain(arguments)
    images = chain.images[: arguments.num]
    made = chain.compress(images, values_of(arguments, Compression))
    storage.write(output, made.content)
    lengths = np.asarray([made.net, made.bound, made.gross]).T / images.size
    rows = [[chain.name(number), *map(format_number, row)] for number, row in enumerate(lengths)]
    rows.append(["sum", *map(format_number, lengths.sum(axis=0))])
    heads = ["part", "net", "bound with the same latents", "gross"]
    print(markdown(Table(heads, rows, f"{len(images)} images, {len(made.content):,} bytes, in bits/dim of an image")))
    print(f"file: {output}")


def decompress(arguments: Namespace, output: Path) -> None:
    import io

    import numpy as np

    from diffenc_jax.runs import storage
    from diffenc_jax.runs.files import read_bytes

    content, chain = io.BytesIO(), _chain(arguments)
    images = chain.decompress(read_bytes(arguments.file, "give a file that `diffenc cascade compress` wrote"))
    np.save(content, images)
    storage.write(output, content.getvalue())
    print(f"{len(images)} images: {output}")


ACTIONS = {"sample": sample, "compress": compress, "decompress": decompress}


def _chain(arguments: Namespace) -> "Chain":
    """The runs with the changes of --config.key=value."""
    import diffenc_jax as dj
    from cascade.chain import Chain
    from diffenc_jax.runs.stored import StoredRun

    changes = changes_of(arguments)

    def opened(run: Path) -> dj.TrainedRun:
        stored = StoredRun(run)
        fits = stored.config.allowing(arguments.plugins).replace(changes).loss.is_fitted
        return dj.open(stored, changes, needs_training_images=fits, plugins=arguments.plugins)

    return Chain([opened(run) for run in arguments.runs])
