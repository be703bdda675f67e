"""Evaluation of one jitted function on every batch of a split, at every point of a grid."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.data.pipeline import eval_batches
from diffenc_jax.parallel.sharding import in_flight, replicated, round_up, to_devices
from diffenc_jax.runs.trained import Trained

# Called after each part of the work with its fraction of the whole.
OnPart = Callable[[float], None]
# (text, number of batches) -> context manager whose value is called after every batch.
Watch = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
UNWATCHED: Watch = lambda text, total: nullcontext(lambda: None)  # noqa: E731


def sweep(
    run: Trained, points: Sequence[tuple[Any, ...]], compute: Callable[..., Any], on_part: OnPart
) -> Iterator[tuple[np.ndarray, tuple[Any, ...], Any]]:
    """Yield (rows, point, values) for every batch of the images that `run` evaluates on, and every point.

    Args:
      run: gives the images, the parameters, the mesh and the batch size.
      points: tuples of the further arguments of `compute`: scalars with a dtype, or trees of arrays on the devices.
      compute: pure function (params, batch, indices [B], valid [], *point) -> arrays. `indices` are positions in the
        split. Only the first `valid` images of a batch count.

    Yields:
      The positions in the split of the batch's valid images, the point, and what `compute` returned.
    """
    size, total = batch_size(run), num_batches(run) * len(points)
    compute = jax.jit(compute, out_shardings=replicated(run.mesh))

    def calls():
        for part in eval_batches(run.dataset.examples(run.config.eval.split), size):
            batch, indices = to_devices(run.mesh, (part.batch, part.indices))
            for point in points:
                values = compute(run.params, batch, indices, np.int32(part.valid), *point)
                yield part.indices[: part.valid], point, values

    for call in in_flight(calls()):
        yield call
        on_part(1 / total)


def batch_size(run: Trained) -> int:
    """Images per batch of a study: `eval.batch_size` or all, rounded up to a multiple of the number of devices."""
    return round_up(run.mesh, min(run.config.eval.batch_size, len(split_images(run))))


def num_batches(run: Trained) -> int:
    """Number of batches that hold all images."""
    return math.ceil(len(split_images(run)) / batch_size(run))


def split_images(run: Trained) -> np.ndarray:
    """The images of the split that `run` evaluates on; raises InputError for a single one."""
    split = run.config.eval.split
    name, images = run.dataset.name, run.dataset.splits[split]
    require(len(images) > 1, f"{name} {split} is one image, and standard errors over images need at least two")
    return images
