"""Quality of samples without a downloaded network: each number beside the same number for real images."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from diffenc_jax.core.buckets import as_path
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import Keyed, key
from diffenc_jax.core.numbers import Figure
from diffenc_jax.lab.figures.charts import Board, Chart
from diffenc_jax.lab.studies.study import Array, Config, Measured, Study, Watch

with epy.lazy_imports():  # help and the report need none of them
    import numpy as np
    import scipy
    import sklearn.metrics

    from diffenc_jax.data import checks, dataset
    from diffenc_jax.runs import files, stored

if TYPE_CHECKING:
    from diffenc_jax.data.dataset import Dataset

LONGEST = 240  # bytes of the name of the samples' file, which the names of the study's files begin with
# Fewer samples or test images give no meaningful numbers.
FEWEST = 10
# Training images whose distances are computed at a time.
CHUNK = 10_000
# A sample is near if it is nearer to a training image than all but this fraction of the unseen images.
NEAR = 0.05
# Number of pairs that are drawn.
PAIRS = 12
# Numbers of a result: their names in the table, and their format.
NUMBERS = {
    "median": ("distance to the nearest training image, median", "{:.3g}"),
    "near": ("  nearer than 95 % of the test images", "{:.1%}"),
    "copies": ("  copies", "{:.1%}"),
}
LEGEND = "distances in levels; copying test: below -3, samples lie nearer to training images than unseen images do"


@dataclass(frozen=True)
class Arguments(Keyed):
    """Arguments of the study."""

    samples: str | None = key(None, "a .npz file with the samples, `images`", none="the last one in RUN/samples")


@dataclass
class Quality:
    """Quality of N samples.

    Attributes:
      file: name of the samples' file.
      counts: numbers of samples, training and test images.
      numbers: (of the samples, of the test images) by name, see `NUMBERS`.
      copying: z and p of the global data-copying test (Meehan et al., arXiv 2004.05675, section 3), a rank test of
        `nearest` against `unseen`. If z is far below zero, samples are closer to training images than new images of the
        same distribution are: they are copies. If z is far above zero, samples are farther away than real images.
      nearest, unseen: [N], [M] distance of each sample, and of each test image, to the nearest training image.
      pairs: [2, n, H, W, C] in -1 .. 1: samples that are nearest to training images, and these images.
    """

    file: str
    counts: list[int]
    numbers: dict[str, list[float]]
    copying: list[float]
    nearest: Array
    unseen: Array
    pairs: Array

    def tables(self) -> list[Table]:
        """A row per number: of the samples, and of real images."""
        rows = [
            [NUMBERS[name][0], *(Figure(NUMBERS[name][1], number) for number in pair)]
            for name, pair in self.numbers.items()
        ]
        images = "{:,} samples ({:,} training images, {:,} test images)".format(*self.counts)
        return [Table(["", "samples", "test images"], rows, f"{images}; {LEGEND}")]

    def sentence(self) -> str:
        return f"{self.file}: copying test z = {self.copying[0]:.1f} (p {self.copying[1]:.2g})"


@dataclass(frozen=True)
class Samples:
    """Samples uint8 [N, H, W, C] of a run, their file, and the data set of the run."""

    workdir: Path
    config: Config
    dataset: "Dataset"
    checkpoint: int
    file: Path
    images: "np.ndarray"


class SampleQuality(Study[Arguments, Quality]):
    """Measure the quality of samples: copies, and distances to training images.

    The samples are from `diffenc sample`, uint8 [N, H, W, C]. Every number is shown beside the number for test images,
    which are not in the training set; this is the best possible value. The figure has samples above the training images
    nearest to them. Files have the name of the samples' file.
    """

    name = "sample-quality"
    title = "Quality of samples"
    EXAMPLE = "diffenc sample-quality runs/digits-diffenc-seed0"
    arguments = Arguments
    result = Quality
    reads = ("data.dir", "data.source")

    def subject(self, workdir: Path, arguments: Arguments, given: dict[str, Any], plugins: Collection[str] = ()) -> Any:
        """The samples to measure; raises InputError if there are none, or if they do not have the form of images."""
        config = stored.StoredRun(workdir).config.allowing(plugins).replace(given | {"eval.split": "test"})
        path = as_path(arguments.samples) if arguments.samples else _last(workdir)
        is_short = len(os.fsencode(path.stem)) <= LONGEST
        require(is_short, f"{path} has too long a name for the study's files; give it another")
        arrays = files.read_arrays(files.read_bytes(path, "give a .npz file of samples"), packed=True) or {}
        require("images" in arrays, f"{path} is damaged, or holds no array 'images'; draw samples with diffenc sample")
        data, step = dataset.load_dataset(config.data, "train", "test"), path.stem.partition("-")[0]
        images = data.spec.checked(checks.as_images(path, arrays["images"]))
        fewest = min(len(images), len(data.split("test").data))
        require(fewest >= FEWEST, f"{fewest} samples or test images are too few to compare; take at least {FEWEST}")
        return Samples(workdir, config, data, int(step) if step.isdigit() else 0, path, images)

    def path(self, workdir: Path, measured: Measured[Quality]) -> Path:
        return workdir / self.name / Path(measured.result.file).stem

    def measure(self, run: Samples, arguments: Arguments, watch: Watch) -> Quality:  # type: ignore[override]
        samples = run.images
        train, test = (np.asarray(run.dataset.split(split).data) for split in ("train", "test"))
        (ours, numbers), (theirs, _) = nearest(samples, train), nearest(test, train)
        limit = np.quantile(theirs, NEAR)
        quality = {
            "median": [float(np.median(one)) for one in (ours, theirs)],
            "near": [float(np.mean(one < limit)) for one in (ours, theirs)],
            "copies": [float(np.mean(one == 0)) for one in (ours, theirs)],
        }
        z, p = scipy.stats.ranksums(ours, theirs)
        first, largest = np.argsort(ours, kind="stable")[:PAIRS], run.dataset.spec.levels - 1
        return Quality(
            file=run.file.name,
            counts=[len(samples), len(train), len(test)],
            numbers=quality,
            copying=[float(z), float(p)],
            nearest=ours,
            unseen=theirs,
            pairs=(2 * np.stack([samples[first], train[numbers[first]]]) / largest - 1).astype(np.float32),
        )

    def figures(self, shown: Sequence[Measured[Quality]]) -> dict[str, Chart | Board]:
        (result,) = (measured.result for measured in shown)
        if result.pairs[0, 0].size < 4:  # a point of two coordinates is no picture
            return {}
        names, heads = ["samples", "training\nimages"], [""] * result.pairs.shape[1]
        caption = "the samples that are nearest to training images, above these"
        return {"": Board(caption, names, heads, [result.pairs])}


def _last(workdir: Path) -> Path:
    """The samples of the last step in a workdir."""
    paths = (path for path in files.list_paths(workdir / "samples", "*.npz") if path.stem[0].isdigit())
    by_step = {(int(path.stem.split("-")[0]), path) for path in paths}
    require(bool(by_step), f"{workdir} holds no samples; draw some with diffenc sample, or give --samples=FILE")
    return max(by_step)[1]


def nearest(images: "np.ndarray", train: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Distances [N] of uint8 `images` [N, H, W, C] to the nearest of `train` [M, H, W, C], and their indices [N].

    Of equally near images the first is taken. Distances are L2 in levels, computed in float64 from whole numbers, so
    that the distance of a copy is exactly zero.
    """
    flat = images.reshape(len(images), -1).astype(np.float64)
    distances, numbers = np.full(len(images), np.inf), np.zeros(len(images), np.int64)
    for start in range(0, len(train), CHUNK):
        chunk = train[start : start + CHUNK]
        others = chunk.reshape(len(chunk), -1).astype(np.float64)
        places, between = sklearn.metrics.pairwise_distances_argmin_min(flat, others)
        nearer = between < distances
        distances[nearer], numbers[nearer] = between[nearer], places[nearer] + start
    return distances, numbers
