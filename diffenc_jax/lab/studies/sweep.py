"""Evaluation of one jitted function on every batch of a split, at every point of a grid."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.data.pipeline import eval_batches
from diffenc_jax.parallel.sharding import in_flight, replicated, round_up, to_devices
from diffenc_jax.runs.trained import Trained

# Called after each part of the work with its fraction of the whole.
OnPart = Callable[[float], None]


def sweep(
    run: Trained,
    points: Sequence[tuple[Any, ...]],
    compute: Callable[..., Any],
    on_part: OnPart = lambda part: None,
    split: str | None = None,
) -> Iterator[tuple[np.ndarray, tuple[Any, ...], Any]]:
    """Yield (rows, point, values) for every batch of the images that `run` evaluates on, and every point.

    Args:
      run: gives the images, the parameters, the mesh and the batch size.
      points: tuples of the further arguments of `compute`: scalars with a dtype, or trees of arrays.
      compute: pure function (params, batch, indices [B], valid [], *point) -> arrays. `indices` are positions in the
        split. Only the first `valid` images of a batch count.
      split: other images to go through.

    Yields:
      The positions in the split of the batch's valid images, the point, and what `compute` returned.
    """
    size, images = batch_size(run), run.dataset.examples(split or run.config.eval.split)
    total = math.ceil(len(images.pixels) / size) * len(points)
    compute = jax.jit(compute, out_shardings=replicated(run.mesh))

    def calls():
        for part in eval_batches(images, size):
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
    name, images = run.dataset.name, np.asarray(run.dataset.splits[split])
    require(len(images) > 1, f"{name} {split} is one image, and standard errors over images need at least two")
    return images


def rows_of_columns(columns: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """Rows of a table that is given by its columns, each [rows]."""
    return [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]
