"""Size and time of lossless compression: a trained run beside PNG, WebP and JPEG XL on the same images.

Bits/dim of the code itself (net) and of all bits of the file (gross). The picture formats are measured with a file per
image, as they are used, and with one large picture of all images, in which headers count for little and neighbouring
images come one below the other. JPEG XL needs `pip install pillow-jxl-plugin`, and is left out without it.
"""

import argparse
import contextlib
import io
import math
import time

import numpy as np
import records
from PIL import Image

import diffenc_jax as dj
from diffenc_jax.commands.options import add_changes, add_keys, changes_of, location, positive, values_of
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import require
from diffenc_jax.core.numbers import Figure, format_number
from diffenc_jax.core.terminal import print_document
from diffenc_jax.lab.coding.choices import Compression

EXAMPLE = "python benchmarks/picture_formats.py runs/digits-vdm-seed0 --images=297 --config.loss.depth=50"
# Options of Pillow for the smallest lossless files.
FORMATS = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
    "JPEG XL": {"format": "JXL", "lossless": True, "effort": 9},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=location, metavar="WORKDIR", help="folder of a trained run")
    parser.add_argument("--images", type=positive, default=100, help="number of images, the first of eval.split")
    add_keys(parser, Compression)
    add_changes(parser, "loss", "fit", "mesh", "data.dir", "eval.dtype", "eval.split")


def run(arguments: argparse.Namespace) -> None:
    from diffenc_jax.lab.coding.codec import Codec, open_file
    from diffenc_jax.runs.stored import StoredRun

    stored = StoredRun(arguments.workdir)
    config = stored.config.allowing(arguments.plugins).replace(changes_of(arguments))
    trained = dj.open(stored, config=config)
    images = trained.dataset.split(config.eval.split).data[: arguments.images]
    require(images.shape[3] in (1, 3), f"pictures have 1 or 3 channels, and these images {images.shape[3]}")
    codec, start = Codec(trained, values_of(arguments, Compression)), time.perf_counter()
    found = codec.compress(images)
    seconds = time.perf_counter() - start
    codec, container = open_file(stored, found.content, "the file")
    start = time.perf_counter()
    decoded = codec.decompress(container)
    back = time.perf_counter() - start
    require(np.array_equal(decoded, images), "the images did not come back")
    name = f"{config.arm}, depth {config.loss.depth}"
    lines = [
        [f"{name}, net", found.lengths.code.sum() / math.log(2) / images.size, None, None],
        [f"{name}, gross", 8 * len(found.content) / images.size, seconds - back, back],
    ]
    with contextlib.suppress(ImportError):
        import pillow_jxl  # noqa: F401  registers the format
    Image.init()
    for kind, options in FORMATS.items():
        if options["format"] in Image.SAVE:
            lines.append([f"{kind}, a file per image", *measured(list(images), options)])
            lines.append([f"{kind}, one picture of all", *measured([images.reshape(-1, *images.shape[2:])], options)])
    rows = [
        [name, format_number(bits), *("" if t is None else Figure("{:.2f}", t) for t in times)]
        for name, bits, *times in lines
    ]
    heads = ["", "bits/dim", "seconds", "seconds back"]
    print_document(Table(heads, rows, f"{len(images)} images of {config.name}"))


def measured(pictures: list[np.ndarray], options: dict) -> tuple[float, float, float]:
    """Bits/dim of files of these pictures, and the seconds to write and to read them."""
    files, size = [], sum(picture.size for picture in pictures)
    start = time.perf_counter()
    for picture in pictures:
        content = io.BytesIO()
        Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(content, **options)
        files.append(content)
    written = time.perf_counter()
    for file, picture in zip(files, pictures, strict=True):
        with Image.open(file) as opened:
            read = np.asarray(opened.convert("L" if picture.shape[2] == 1 else "RGB"))
        require(np.array_equal(read.reshape(picture.shape), picture), f"{options['format']} lost something")
    return 8 * sum(len(file.getvalue()) for file in files) / size, written - start, time.perf_counter() - written


if __name__ == "__main__":
    records.run_script(computes=True)
