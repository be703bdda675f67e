"""Download and prepare the images of a configuration, so that machines which train on them find them ready.

The data set of tensorflow-datasets is written to `data.dir`, a folder or gs://BUCKET/FOLDER. For a bucket, it is
prepared in the local folder of data sets, where it stays, and copied to the bucket. A data set that is already there is
left as it is.
"""

import argparse

from etils import epy

from diffenc_jax.commands.options import add_config

with epy.lazy_imports():  # help needs none of them
    from diffenc_jax.config import load
    from diffenc_jax.data import sources

EXAMPLE = "diffenc prepare-data --config=cifar10 --config.data.dir=gs://BUCKET/data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)


def run(arguments: argparse.Namespace) -> None:
    data = load.load_config(arguments.config, arguments.overrides).data
    source = sources.prepare(data)
    if source is None:
        print(f"{data.source} needs no preparation")
        return
    sizes = ", ".join(f"{split} {images().shape[0]:,}" for split, images in source.splits.items())
    print(f"{source.name} {source.version}: {sizes} images")
