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

from etils import epy

from diffenc_jax.commands import options
from diffenc_jax.core.errors import require
from diffenc_jax.lab.coding.choices import Compression

with epy.lazy_imports():  # help needs none of them
    import numpy as np

    from diffenc_jax import api
    from diffenc_jax.core import terminal
    from diffenc_jax.data import sources
    from diffenc_jax.lab.coding import codec
    from diffenc_jax.runs import storage, stored

EXAMPLE = """\
diffenc compress runs/digits-vdm-seed0 test -o digits.diffenc \\
    --config.loss.depth=50 --config.loss.times=optimal \\
    --config.loss.variance_ratio=optimal_estimate"""
ON_INTERRUPT = "no file was written"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("workdir", type=options.location, metavar="WORKDIR", help="folder of a trained run")
    images = "an .npy, .npz or IDX file, a folder of pictures, or a split such as test"
    parser.add_argument("images", metavar="IMAGES", help=images)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write; replaced if it exists")
    options.add_keys(parser, Compression)
    options.add_changes(parser, "loss", "fit", "mesh", "data.dir", "data.source", "eval.dtype")


def run(arguments: Namespace) -> None:
    output, choices = options.writable_file("output", arguments.output), options.values_of(arguments, Compression)
    run, source = stored.StoredRun(arguments.workdir), arguments.images
    config = run.config.allowing(arguments.plugins).replace(options.changes_of(arguments))
    in_python = "in Python `diffenc_jax.lab.coding.codec.compress` takes them"
    require(not config.model.labels, f"{arguments.workdir} is a run with labels, which no file here holds; {in_python}")
    is_split = not Path(source).exists()
    if is_split:
        config = config.replace({"eval.split": source})
    trained = api.open(run, config=config)
    images = np.asarray(trained.dataset.split(source).data if is_split else sources.all_images(Path(source)))
    coder, count = codec.Codec(trained, choices), len(images)
    with options.watched(terminal.make_console(), f"compressing {count} images", 2 * count) as on_batch:
        compressed = coder.compress(images, on_batch=on_batch)
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
