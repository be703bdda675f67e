"""`Chain`: trained runs of all parts of one cascade as one model of whole images."""

from collections.abc import Sequence

import numpy as np

from cascade.bands import KINDS, Transform
from diffenc_jax.api import TrainedRun
from diffenc_jax.core.errors import require


class Chain:
    """Runs from the coarse image to the finest details. Each run is given the image that the previous runs make."""

    def __init__(self, runs: Sequence[TrainedRun]):
        """Raises InputError unless the runs are the parts of one cascade, in this order."""
        self.runs, first = list(runs), runs[0]
        name = first.dataset.source.name  # such as digits-haar-coarse-1, see `data.coarse`
        kind = name.partition("-coarse-")[0].rpartition("-")[2]
        is_coarse = "-coarse-" in name and kind in KINDS
        require(is_coarse, f"{self.name(0)} is no run of a coarse image; give the runs in order")
        self.transform = Transform(kind, first.model.spec.levels)
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
        return str(self.runs[number].workdir)

    def sample(self, num: int, **changes: object) -> np.ndarray:
        """Images uint8 [num, H, W, C]; `changes` as in `Run.sample`."""
        images = self.runs[0].sample(num=num, **changes)
        for run in self.runs[1:]:
            images = self.transform.join(images, run.sample(num=num, labels=images, **changes))
        return images
