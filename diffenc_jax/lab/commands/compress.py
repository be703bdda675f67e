"""Compress images without loss by a trained run.

The code belongs to the generative model at a finite depth, with the steps that the section `loss` of the configuration
describes. Its length is the bound at that depth (net), plus initial bits that each stack takes once (gross). A run at
infinite depth needs --config.loss.depth=T. Runs with a latent code or an affine encoder cannot compress. Runs with
labels can compress only from Python (lab/coding/codec.py), since the file does not hold labels. The file is
decompressed by the same run on a machine like this one. It holds checksums, and is decoded once before it is written.
"""

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path

from diffenc_jax.commands.arguments import (
    add_changes,
    add_keys,
    changes_of,
    location,
    values_of,
    watched,
    writable_file,
)
from diffenc_jax.lab.coding.choices import Compression

EXAMPLE = """\
diffenc compress runs/digits-vdm-seed0 test -o digits.diffenc \\
    --config.loss.depth=50 --config.loss.times=optimal \\
    --config.loss.variance_ratio=optimal_estimate"""
ON_INTERRUPT = "no file was written"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("workdir", type=location, metavar="WORKDIR", help="folder of a trained run")
    images = "an .npy, .npz or IDX file, a folder of pictures, or a split such as test"
    parser.add_argument("images", metavar="IMAGES", help=images)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write; replaced if it exists")
    add_keys(parser, Compression)
    add_changes(parser, "loss", "fit", "mesh", "data.dir", "eval.dtype")


def run(arguments: Namespace) -> None:
    import numpy as np

    from diffenc_jax import api
    from diffenc_jax.core.errors import require
    from diffenc_jax.core.terminal import make_console
    from diffenc_jax.data.sources import all_images
    from diffenc_jax.lab.coding.codec import Codec
    from diffenc_jax.runs import storage
    from diffenc_jax.runs.stored import StoredRun

    output, choices = writable_file("output", arguments.output), values_of(arguments, Compression)
    stored, source = StoredRun(arguments.workdir), arguments.images
    config = stored.config.allowing(arguments.plugins).replace(changes_of(arguments))
    in_python = "in Python `diffenc_jax.lab.coding.codec.compress` takes them"
    require(not config.model.labels, f"{arguments.workdir} is a run with labels, which no file here holds; {in_python}")
    is_split = not Path(source).exists()
    if is_split:
        config = config.replace({"eval.split": source})
    trained = api.open(stored, config=config)
    images = np.asarray(trained.dataset.split(source).data if is_split else all_images(Path(source)))
    codec, count = Codec(trained, choices), len(images)
    with watched(make_console(), f"compressing {count} images", 2 * count) as on_batch:
        compressed = codec.compress(images, on_batch=on_batch)
    assert output is not None  # it is required
    storage.write(output, compressed.content)
    size, levels = len(compressed.content), trained.model.spec.levels
    net, bound = (nats.sum() / (math.log(2) * images.size) for nats in compressed.lengths)
    gross, initial = (bits / images.size for bits in (8 * size, compressed.initial_bits))
    print(
        f"{count} images, {size:,} bytes: net {net:.4f} bits/dim, the bound with the same latents {bound:.4f}; gross "
        f"{gross:.4f}, of which initial bits {initial:.4f}\nbytes: {images.size:,} before, one per value, where "
        f"{levels} levels need {math.log2(levels):.4f} bits/dim; {size:,} after\nfile: {output}"
    )
