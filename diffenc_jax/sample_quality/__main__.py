"""How good samples are: copies of training images, pixels, classes, distances, and FID where its network is at hand.

python -m diffenc_jax.sample_quality SAMPLES.npz [--workdir=WORKDIR] [--fid-weights=FILE]

SAMPLES.npz holds `images`, uint8 [N, H, W, C], as --mode=sample writes it to WORKDIR/samples. The workdir's
configuration says what they are samples of. Every figure stands beside that of real images, which is as good as it
gets: of the test images, which are unseen, where it is measured from training images, and of as many training images
as there are samples where it is measured from test images. Nothing is downloaded. Prints a table, and writes it
unrounded to SAMPLES-quality.json, and samples beside their nearest training images to SAMPLES-quality.png.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from diffenc_jax.commands import run

if TYPE_CHECKING:
    import numpy as np

    from diffenc_jax.data.dataset import Dataset

# Fewer say nothing.
FEWEST = 10
ARRAY = "images"


def study(path: Path, workdir: Path, weights: Path | None) -> None:
    """Measures the samples at `path`, writes the record and the picture, and prints the table."""
    from diffenc_jax import workdir as workdirs
    from diffenc_jax.config import require
    from diffenc_jax.data.dataset import load
    from diffenc_jax.sample_quality import fid, picture
    from diffenc_jax.sample_quality.measure import measure
    from diffenc_jax.sample_quality.table import show

    require(path.is_file(), f"{path} is no file; give a .npz of a workdir's samples/")
    config = workdirs.configuration(workdir)
    if weights is not None:
        fid.check(weights)
    dataset = load(config, "train", "test")
    samples = read(path, dataset)
    test, channels = len(dataset.splits["test"]), dataset.shape[2]
    require(test >= FEWEST, f"{dataset.name} has {test} test images, too few to compare samples with")
    require(weights is None or channels in (1, 3), f"FID is of grey or RGB images, these have {channels} channels")
    require(os.access(path.parent, os.W_OK), f"{path.parent} cannot be written to; copy {path.name} elsewhere")
    measured = measure(samples, dataset, config, weights)
    record, drawn = (path.with_name(f"{path.stem}-quality.{kind}") for kind in ("json", "png"))
    workdirs.replace(record, json.dumps({"file": path.name, **measured.record}, indent=1) + "\n")
    picture.write(samples, dataset.splits["train"], measured.samples, measured.unseen, dataset.levels, drawn)
    show(measured.record)
    print(f"record: {record}\npicture: {drawn}")


def read(path: Path, dataset: "Dataset") -> "np.ndarray":
    """The samples at `path`, uint8 [N, H, W, C].

    Raises:
      InputError: they cannot be read, are too few, or no images such as those of the data set.
    """
    from diffenc_jax.config import require
    from diffenc_jax.data import arrays

    require(ARRAY in arrays.headers(path), f"{path} holds no array '{ARRAY}'; give a file that --mode=sample wrote")
    images = arrays.npz_images(path, ARRAY)
    ours, theirs = list(images.shape[1:]), list(dataset.shape)
    require(ours == theirs, f"{path} holds images of {ours}, and those of {dataset.name} are {theirs}")
    largest = int(images.max())
    require(
        largest < dataset.levels,
        f"{path} holds the value {largest}, and those of {dataset.name} are 0 .. {dataset.levels - 1}",
    )
    require(len(images) >= FEWEST, f"{path} holds {len(images)} samples, too few to say anything of; draw more")
    return images


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m diffenc_jax.sample_quality",
        description="How good samples are, each figure beside that of real images.",
    )
    parser.add_argument("samples", type=Path, metavar="SAMPLES", help="a .npz of a workdir's samples/")
    parser.add_argument("--workdir", type=Path, help="of the run (default: the folder above that of the samples)")
    parser.add_argument("--fid-weights", type=Path, metavar="FILE", help="of torch-fidelity's Inception network")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Exit code: 0, or 2 for bad input."""
    arguments = _arguments(argv)
    workdir = arguments.samples.absolute().parent.parent if arguments.workdir is None else arguments.workdir
    return run(
        lambda: study(arguments.samples, workdir, arguments.fid_weights),
        interrupted="nothing was written, the same command begins again",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
