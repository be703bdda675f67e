"""Evaluations of a run: of its likelihood, and of a jitted function on every batch and every point of a grid."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from diffenc_jax.api import TrainedRun
from diffenc_jax.core.errors import require
from diffenc_jax.data.pipeline import eval_batches
from diffenc_jax.diffusion.process import Process
from diffenc_jax.evaluation.evaluator import Evaluator, MakeTables, OnBatch
from diffenc_jax.evaluation.means import mean_and_error
from diffenc_jax.model import bind_to
from diffenc_jax.parallel.sharding import in_flight, replicated, round_up, to_devices
from diffenc_jax.runs.records import Evaluation

# Called after each part of the work with its fraction of the whole.
OnPart = Callable[[float], None]


class Chunk(NamedTuple):
    """A batch of the images of a split, as `compute` of `sweep` gets it.

    Attributes:
      process: the diffusion process of the run's model for these images.
      data: [B, ...], images uint8 [B, H, W, C].
      indices: [B] positions in the split.
      valid: number [] of the images that count; the others fill the batch.
    """

    process: Process
    data: jax.Array
    indices: jax.Array
    valid: jax.Array


def sweep(
    run: TrainedRun,
    points: Sequence[tuple[Any, ...]],
    compute: Callable[..., Any],
    on_part: OnPart = lambda part: None,
    split: str | None = None,
) -> Iterator[tuple[np.ndarray, int, Any]]:
    """Yield (rows, number of the point, values) for every batch of the images that `run` evaluates on, and every point.

    Args:
      run: gives the images, the parameters, the mesh and the batch size.
      points: tuples of further arguments of `compute`: scalars with a dtype, or trees of arrays.
      compute: pure function (Chunk, *point) -> arrays.
      split: other images to go through.

    Yields:
      The positions in the split of the batch's valid images, the point's number, and the result of `compute`.
    """
    size = round_up(run.mesh, min(run.config.eval.batch_size, len(split_images(run))))
    images = run.dataset.split(split or run.config.eval.split).examples
    total = math.ceil(len(images.data) / size) * len(points)

    def of_batch(params, batch, indices, valid, *point):
        return compute(Chunk(bind_to(run.model, params, batch), batch.data, indices, valid), *point)

    def calls():
        jitted = jax.jit(of_batch, out_shardings=replicated(run.mesh))
        for part in eval_batches(images, size):
            batch, indices = to_devices(run.mesh, (part.batch, part.indices))
            for number, point in enumerate(points):
                values = jitted(run.params, batch, indices, np.int32(part.valid), *point)
                yield part.indices[: part.valid], number, values

    for call in in_flight(calls()):
        yield call
        on_part(1 / total)


def by_image(
    run: TrainedRun, points: Sequence[tuple[Any, ...]], compute: Callable[..., Any], on_part: OnPart = lambda part: None
) -> np.ndarray:
    """Values [points, ..., images] of all images, float64, of a `compute` as in `sweep` that returns [..., B]."""
    values = np.empty(0)
    for rows, number, batch in sweep(run, points, compute, on_part):
        valid = np.asarray(batch)[..., : len(rows)]
        if not values.size:
            values = np.empty((len(points), *valid.shape[:-1], len(split_images(run))))
        values[number][..., rows] = valid
    return values


def evaluated(evaluator: Evaluator, run: TrainedRun, on_batch: OnBatch, tables: MakeTables = None) -> Evaluation:
    """The evaluation of `run` by `evaluator`; a finished record in the workdir is used again."""
    return evaluator.record(run.params, run.checkpoint, run.stored, tables=tables, on_batch=on_batch)


def split_images(run: TrainedRun) -> np.ndarray:
    """The images of the split that `run` evaluates on; raises InputError for a single image."""
    split = run.config.eval.split
    name, images = run.dataset.source.name, np.asarray(run.dataset.split(split).data)
    require(len(images) > 1, f"{name} {split} is one image, and standard errors over images need at least two")
    return images


def root_mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """√m, m the mean over images of values [N, ...], and its standard error: the standard error of m over 2 √m."""
    mean, error = mean_and_error(values)
    root = np.sqrt(mean)
    return root, np.divide(error, 2 * root, out=np.zeros_like(root), where=root > 0)


def rows_of_columns(columns: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """Rows of a table that is given by its columns, each [rows]."""
    return [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]
