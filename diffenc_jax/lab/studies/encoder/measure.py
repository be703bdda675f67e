"""Effects of an encoder on the images of a split, at many γ."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.core.streams import gaussian_each, stream
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.decoder import pixel_values
from diffenc_jax.diffusion.gaussian import align, diffuse, sum_dims
from diffenc_jax.lab.studies.sweep import OnPart, split_images, sweep
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.runs.trained import Trained, open_trained
from diffenc_jax.runs.workdir import stored_config


class ByGamma(NamedTuple):
    """Effects of an encoder on N images at G values of γ = -λ; float64, with x in -1 .. 1.

    Values [N, G] are means over the dimensions. x_t - x is computed in float32, with an error of about 6e-8.

    Attributes:
      gamma: [G].
      difference: [N, G] (x_t - x)².
      derivative: [N, G] (dx_t/dγ)².
      residual: [N, G] (dx_t/dλ - σ_t² x̂)² at one draw of z_t per image and γ: the part of the encoder's drift that the
        generative model, whose mean drifts by σ_t² x̂, misses. It is σ_t² times the `residual` of `by_time`.
      added, removed: [N, G] max(x_t - x, 0) and max(x - x_t, 0).
      added_map, removed_map: [G, H, W, C] means of the same two over the images, per pixel.
      x_rms: root mean square of x over all images.
      x: [n, H, W, C] the first images.
      x_t, dx_t: [n, G, H, W, C] their encoded images, and dx_t/dγ.
    """

    gamma: np.ndarray
    difference: np.ndarray
    derivative: np.ndarray
    residual: np.ndarray
    added: np.ndarray
    removed: np.ndarray
    added_map: np.ndarray
    removed_map: np.ndarray
    x_rms: float
    x: np.ndarray
    x_t: np.ndarray
    dx_t: np.ndarray


def open_run(workdir: Path, passes: int, changes: Mapping[str, Any]) -> Trained:
    """The run, with `changes` of its configuration by key, and its training images.

    Times in the bound are uniform, so that its noise is common to all encoders. Raises InputError if there is no such
    run or split, the split is one image, or the encoder is the identity.
    """
    bound = {"eval.estimator": "bound", "eval.time_sampling": "uniform", "eval.num_draws": 1, "eval.passes": passes}
    config = stored_config(workdir).replace({**changes, **bound})
    run = open_trained(workdir, config, needs_training_images=True)
    require(
        run.model.encoder.drifts,
        f"{workdir} is a run of {config.arm}, whose encoder changes nothing (x_t = x); give a run with another encoder",
    )
    require(
        not run.model.encoder.scales_noise,
        f"the encoder of {workdir} scales the noise as well, which this study does not measure; give another run",
    )
    require(
        not run.model.schedule.per_dimension,
        f"{workdir} has a γ per pixel, and this study is of one γ for all; give another run",
    )
    split_images(run)
    return run


def measure_by_gamma(
    run: Trained, gammas: int, keep: int, seed: int = 0, on_part: OnPart = lambda part: None
) -> ByGamma:
    """Effects on all images of the split that `run` evaluates on, at γ evenly spaced from γ_0 to γ_1.

    The noise of a residual depends only on (seed, position of the image in the split, number of the γ), so no value
    depends on the batch size or the devices.

    Args:
      gammas: number of γ.
      keep: number of first images whose x_t and dx_t/dγ are returned.
    """
    images = split_images(run)
    shape, keep = images.shape[1:], min(keep, len(images))
    gamma = np.linspace(*map(float, run.model.bind(run.params).endpoints), gammas)
    values, maps = np.empty((5, len(images), gammas)), np.zeros((2, gammas, *shape))
    kept_arrays = np.empty((2, keep, gammas, *shape))
    points = [(np.float32(value), np.int32(g)) for g, value in enumerate(gamma)]
    compute = partial(_effects, run.model, seed)
    for rows, (_, g), (by_image, sums, *arrays) in sweep(run, points, compute, on_part):
        values[:, rows, g] = np.asarray(by_image)[:, : len(rows)]
        maps[:, g] += np.asarray(sums)
        kept = rows[rows < keep]
        for target, array in zip(kept_arrays, arrays, strict=True):
            if len(kept):
                target[kept, g] = np.asarray(array)[: len(kept)]
    levels = run.model.spec.pixel_levels
    level = np.asarray(pixel_values(jnp.asarray(np.arange(levels, dtype=np.uint8)), levels), np.float64)
    x_rms = math.sqrt(np.mean([np.square(level[image]).mean() for image in images]))
    return ByGamma(gamma, *values, *maps / len(images), x_rms, level[images[:keep]], *kept_arrays)


def _effects(model: Model, seed: int, params: Params, batch: Batch, indices, valid, gamma, number):
    """Effects on a batch at one γ: the five values of `ByGamma` [5, B], sums of its maps [2, H, W, C], x_t and dx_t."""
    process = bind_to(model, params, batch)
    x = process.pixel_values(batch.pixels)
    gammas, sigma2 = jnp.full(len(x), gamma), jax.nn.sigmoid(gamma)
    x_t, slope, *_ = process.encoder.mean_and_slope(x, gammas)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(seed, "encoder study"), indices)
    z_t, _ = diffuse(x_t, gammas, gaussian_each(keys, number, x.shape[1:]))
    correction = process.assumed_at(process.estimate(z_t, gammas), gammas).correction
    added, removed = jnp.maximum(x_t - x, 0.0), jnp.maximum(x - x_t, 0.0)
    squares = (jnp.square(array) for array in (x_t - x, sigma2 * slope, sigma2 * (slope + correction)))
    by_image = jnp.stack([sum_dims(array) / model.spec.dims for array in (*squares, added, removed)])
    real = align((jnp.arange(len(x)) < valid).astype(x.dtype), x)
    sums = jnp.stack([jnp.sum(real * array, axis=0) for array in (added, removed)])
    return by_image, sums, x_t, sigma2 * slope
