"""Samples beside real images: the study, and its result."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffenc_jax.core.document import Table
from diffenc_jax.core.keys import Keyed, key
from diffenc_jax.lab.figures.charts import Board, Chart
from diffenc_jax.lab.studies.study import Array, Measured, Study, Watch

if TYPE_CHECKING:
    from diffenc_jax.lab.studies.sample_quality.measure import Samples

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
        `nearest` against `unseen`. Far below zero, samples lie nearer to training images than images of the same
        distribution: they are copies. Far above zero, samples lie farther away than real images.
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
        """A row per number of the samples, beside that of real images."""
        rows = [[NUMBERS[name][0], *map(NUMBERS[name][1].format, pair)] for name, pair in self.numbers.items()]
        images = "{:,} samples ({:,} training images, {:,} test images)".format(*self.counts)
        return [Table(["", "samples", "test images"], rows, f"{images}; {LEGEND}")]

    def sentence(self) -> str:
        return f"{self.file}: copying test z = {self.copying[0]:.1f} (p {self.copying[1]:.2g})"


class SampleQuality(Study[Arguments, Quality]):
    """Measure the quality of samples: copies, and distances to training images.

    The samples are those of `diffenc sample`, uint8 [N, H, W, C], of a run's data set. Every number stands beside that
    of test images, unseen in training, the best possible value. The figure has samples above the training images
    nearest to them. Files have the names of the samples' file.
    """

    name = "sample-quality"
    title = "Quality of samples"
    example = "diffenc sample-quality runs/digits-diffenc-seed0"
    arguments = Arguments
    result = Quality
    reads = ("data.dir",)

    def open(self, workdir: Path, arguments: Arguments, given: dict[str, Any], plugins: Collection[str] = ()) -> Any:
        from diffenc_jax.lab.studies.sample_quality.measure import open_samples

        return open_samples(workdir, arguments, given, plugins)

    def path(self, workdir: Path, measured: Measured[Quality]) -> Path:
        return workdir / self.name / Path(measured.result.file).stem

    def measure(self, run: "Samples", arguments: Arguments, watch: Watch) -> Quality:  # type: ignore[override]
        from diffenc_jax.lab.studies.sample_quality.measure import measure_quality

        return measure_quality(run)

    def figures(self, shown: Sequence[Measured[Quality]]) -> dict[str, Chart | Board]:
        (result,) = (measured.result for measured in shown)
        if result.pairs[0, 0].size < 4:  # a point of two coordinates is no picture
            return {}
        names, heads = ["samples", "training\nimages"], [""] * result.pairs.shape[1]
        caption = "the samples that are nearest to training images, above these"
        return {"": Board(caption, names, heads, [result.pairs])}
