"""Compress images without loss by a trained run.

The code is that of the generative model at a finite depth, with the steps that the section `loss` of the configuration
describes: its length is the bound at that depth, plus initial bits that each stack takes once (gross). A run at
infinite depth needs --config.loss.depth=T. Runs with labels, a latent code or an affine encoder cannot compress. The
file is decompressed by the same run on a machine like this one. It holds checksums, and is decoded once before it is
written. Fitted steps are kept in WORKDIR/compression, where decompression needs them.
"""

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from diffenc_jax.commands.arguments import add_changes, changes_of, place, watched, writable_file

if TYPE_CHECKING:
    from diffenc_jax.lab.coding.codec import Compressed

EXAMPLE = """\
diffenc compress runs/digits-vdm-seed0 test -o digits.diffenc \\
    --config.loss.depth=50 --config.loss.times=optimal \\
    --config.loss.variance_ratio=optimal_estimate"""
ON_INTERRUPT = "no file was written"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("workdir", type=place, metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument(
        "images", metavar="IMAGES", help="an .npy, .npz or IDX file, a folder of pictures, or a split such as test"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write; replaced if it exists")
    parser.add_argument("--no-verify", action="store_true", help="write the file without decoding it")
    add_changes(parser, "loss", "fit", "compress", "mesh", "data.dir", "eval.dtype")


def run(arguments: Namespace) -> None:
    from diffenc_jax.core.errors import require
    from diffenc_jax.core.terminal import make_console
    from diffenc_jax.data.sources import all_images
    from diffenc_jax.lab.coding.codec import Codec
    from diffenc_jax.runs import storage
    from diffenc_jax.runs.trained import open_trained
    from diffenc_jax.runs.workdir import stored_config

    output, source = writable_file("output", arguments.output), arguments.images
    config = stored_config(arguments.workdir).replace(changes_of(arguments))
    split = None if Path(source).exists() else source
    is_name = split is None or not (Path(source).suffix or "/" in source)
    require(is_name, f"there is no file or folder {source}; give one, or the name of a split such as test")
    if split is not None:
        config = config.replace({"eval.split": split})
    trained = open_trained(arguments.workdir, config, needs_training_images=config.loss.is_fitted)
    images = all_images(Path(source))[:] if split is None else trained.dataset.splits[split][:]
    codec, console, verify = Codec(trained), make_console(), not arguments.no_verify
    with watched(console, f"compressing {len(images)} images", len(images) * (1 + verify)) as on_part:
        found = codec.compress(images, verify, on_part)
    storage.write(output, found.content)
    print(_summary(found, images[0].size, len(images)))
    print(f"file: {output}")
    arguments.wrote_to = [trained.workdir] if config.loss.is_fitted else []


def _summary(found: "Compressed", dims: int, count: int) -> str:
    """Sizes in bits/dim and times, in two lines."""
    bits = count * dims * math.log(2)
    net, bound = found.lengths.code.sum() / bits, found.lengths.bound.sum() / bits
    gross, initial = (8 * len(found.content) / (count * dims), found.initial_bits / (count * dims))
    return (
        f"{count} images, {len(found.content):,} bytes: net {net:.4f} bits/dim, the bound with the same latents "
        f"{bound:.4f}; gross {gross:.4f}, of which initial bits {initial:.4f}\n"
        f"{count / found.seconds:.1f} images/s, {found.network_seconds / found.seconds:.0%} of the time in networks"
    )
