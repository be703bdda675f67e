"""`Chain`: trained runs of all parts of one cascade as one model of whole images."""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cascade.bands import KINDS, Transform
from diffenc_jax.api import TrainedRun
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.lab.coding.choices import Compression
from diffenc_jax.lab.coding.codec import Codec, decompress
from diffenc_jax.runs.files import read_arrays


class Compressed(NamedTuple):
    """A file of whole images, and its lengths in bits by part.

    Attributes:
      net: without the bits that the stacks took at first.
      bound: the bound at this depth with the same latents.
      gross: of the part's file.
    """

    content: bytes
    net: list[float]
    bound: list[float]
    gross: list[int]


class Chain:
    """Runs from the coarse image to the finest details, each given the image that the runs before it make."""

    def __init__(self, runs: Sequence[TrainedRun]):
        """Raises InputError unless the runs are the parts of one cascade, in this order."""
        self.runs, first = list(runs), runs[0]
        name = first.experiment.dataset.name  # such as digits-haar-coarse-1, see `data.coarse`
        kind = name.partition("-coarse-")[0].rpartition("-")[2]
        is_coarse = "-coarse-" in name and kind in KINDS
        require(is_coarse, f"{self.name(0)} is no run of a coarse image; give the runs in order")
        self.transform = Transform(kind, first.model.spec.pixel_levels)
        made = np.asarray(first.test)
        for number, run in enumerate(runs[1:], 1):
            given = run.test_labels
            fits = given is not None and np.array_equal(given, made)
            order = "give all runs of one cascade on one split, from the coarse image to the finest details"
            require(fits, f"the labels of {self.name(number)} are not the images that the runs before it make; {order}")
            made = self.transform.join(made, np.asarray(run.test))
        self.images = made

    def name(self, number: int) -> str:
        """The folder of a run."""
        return str(self.runs[number].experiment.workdir)

    def sample(self, num: int, **changes: object) -> np.ndarray:
        """Images uint8 [num, H, W, C]; `changes` as in `Run.sample`."""
        images = self.runs[0].sample(num=num, **changes)
        for run in self.runs[1:]:
            images = self.transform.join(images, run.sample(num=num, labels=images, **changes))
        return images

    def compress(self, images: np.ndarray, choices: Compression | None = None) -> Compressed:
        """Whole images, uint8 [N, H, W, C], as a file, at the depth of each run's configuration.

        Raises InputError and RunError as `Codec.compress` does.
        """
        made = [
            Codec(run.experiment, choices).compress(part, labels=labels)
            for run, (part, labels) in zip(self.runs, self.transform.parts(images, len(self.runs) - 1), strict=True)
        ]
        file, bits = io.BytesIO(), 1 / math.log(2)
        np.savez(file, **{str(number): np.frombuffer(part.content, np.uint8) for number, part in enumerate(made)})
        return Compressed(
            file.getvalue(),
            [bits * float(part.lengths.code.sum()) for part in made],
            [bits * float(part.lengths.bound.sum()) for part in made],
            [8 * len(part.content) for part in made],
        )

    def decompress(self, content: bytes) -> np.ndarray:
        """The images of a file of `compress`; raises InputError if it is none, and as `codec.decompress` does."""
        parts = read_arrays(content) or {}
        if parts.keys() != {str(number) for number in range(len(self.runs))}:
            raise InputError(f"this is no file of a cascade of {len(self.runs)} runs; give one of `cascade compress`")
        images = decompress(self.runs[0], parts["0"].tobytes())
        for number, run in enumerate(self.runs[1:], 1):
            images = self.transform.join(images, decompress(run, parts[str(number)].tobytes(), images))
        return images
