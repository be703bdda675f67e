"""Rate and distortion of every image of a split after each step from noise to data."""

import math
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config.sections import LossConfig
from diffenc_jax.core.streams import gaussian_each
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion import progressive
from diffenc_jax.diffusion.gaussian import sum_dims
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.estimator import image_keys
from diffenc_jax.evaluation.evaluator import eval_precision, in_eval_dtype
from diffenc_jax.evaluation.fit import steps_for
from diffenc_jax.evaluation.means import mean_and_error
from diffenc_jax.lab.studies.rate_distortion.study import Rates
from diffenc_jax.lab.studies.study import Rows
from diffenc_jax.lab.studies.sweep import OnPart, split_images, sweep
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.runs.trained import Trained

# Errors of pixels are on this scale, whatever the number of pixel levels.
LARGEST_PIXEL = 255
# Rates of the printed table and of the pictures, evenly spaced between 0 and the bound; images of the pictures.
RATES, IMAGES = 5, 8


class RateDistortion(NamedTuple):
    """Rate and distortion of N images in P passes over T steps; float64.

    Attributes:
      gamma: [T + 1] γ of z_t, from γ_1 at the noise to γ_0 at the data.
      rate: [P, N, T + 2] bits/dim of z_1 and of the steps down to each z_t, and last of the pixels as well.
      square: [P, N, T + 1] mean squared error over the pixels of the image shown at each z_t, on a scale of 0 .. 255.
      estimates_x: whether the image shown is the model's estimate of x; otherwise it is x̂, its estimate of x_t.
      originals: uint8 [n, H, W, C] the first images.
      shown: uint8 [T + 1, n, H, W, C] the images shown for them in the first pass.
    """

    gamma: np.ndarray
    rate: np.ndarray
    square: np.ndarray
    estimates_x: bool
    originals: np.ndarray
    shown: np.ndarray


def summarize(values: RateDistortion, loss: LossConfig, levels: int) -> Rates:
    """Means over images and passes; the errors contain the noise, since each pass has its own."""
    rows: Rows = []
    for number, gamma in enumerate([*map(float, values.gamma), None]):
        rate, rate_se = _mean(values.rate[..., number])
        square, error = (0.0, 0.0) if gamma is None else _mean(values.square[..., number])
        rmse, psnr, rmse_se, psnr_se = math.sqrt(square), None, 0.0, None
        if square:
            rmse_se, psnr_se = error / (2 * rmse), 10 / math.log(10) * error / square
            psnr = 20 * math.log10(LARGEST_PIXEL / rmse)
        row = {"steps": min(number, len(values.gamma) - 1), "gamma": gamma, "rate": rate, "rate_se": rate_se}
        rows.append(row | {"rmse": rmse, "rmse_se": rmse_se, "psnr": psnr, "psnr_se": psnr_se})
    ratio = loss.variance_ratio if isinstance(loss.variance_ratio, str) else f"{loss.variance_ratio:g}"
    steps, numbers = f"{loss.depth} steps, {loss.times} times, variance ratio {ratio}", even_rates(rows)
    pixels = np.concatenate([values.originals[None], values.shown[numbers]])
    return Rates(rows, steps, values.estimates_x, numbers, (2 * pixels / (levels - 1) - 1).astype(np.float32))


def even_rates(rows: Rows) -> list[int]:
    """Numbers of the z_t whose rates are nearest to `RATES` rates evenly spaced between 0 and the bound."""
    rates = np.array([row["rate"] for row in rows])
    wanted = rates[-1] * np.arange(1, RATES + 1) / (RATES + 1)
    return np.unique(np.abs(rates[:-1, None] - wanted).argmin(axis=0)).tolist()


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean of values [passes, images], and its standard error over images and noise."""
    mean, error = mean_and_error(values.mean(axis=0))
    return float(mean), float(error)


def measure_rate_distortion(run: Trained, keep: int, on_part: OnPart = lambda part: None) -> RateDistortion:
    """Rate and distortion over the steps of `run.config.loss`, of finite depth, in `run.config.eval.passes` passes.

    z_t is drawn from q(z_t | x) anew for every step. Its noise depends only on (eval.seed, position of the image in the
    split, pass, number of the step), so no value depends on the batch size or the devices.

    Args:
      keep: number of first images that are returned with the images shown for them.
    """
    run, images, passes = in_eval_dtype(run), split_images(run), run.config.eval.passes
    keep = min(keep, len(images))
    with eval_precision(run.config.eval):
        steps = steps_for(run, run.params, run.config.loss)
        nats = np.empty((passes, len(images), steps.depth + 2))
        square = np.empty((passes, len(images), steps.depth + 1))
        shown = np.empty((steps.depth + 1, keep, *images.shape[1:]), np.uint8)
        for rows, (number, group), parts, found in _measured(run, steps, on_part):
            nats[group, rows[:, None], parts] = np.asarray(found.nats).T[: len(rows)]
            square[group, rows, number] = np.asarray(found.square)[: len(rows)]
            kept = rows[rows < keep]
            if group == 0 and len(kept):
                shown[number, kept] = np.asarray(found.pixels)[: len(kept)]
    gamma = np.asarray(steps.gamma, np.float64)[::-1]
    rate = np.cumsum(nats, axis=2) / (math.log(2) * run.model.spec.dims)
    estimates_x = run.model.estimates_image
    return RateDistortion(gamma, rate, square, estimates_x, images[:keep], shown)


class _Shown(NamedTuple):
    """Images shown for a batch after some of the steps.

    Attributes:
      nats: [C, B] of C parts of the code that are measured here.
      pixels: uint8 [B, H, W, C] the image shown.
      square: [B] its mean squared error on a scale of 0 .. 255.
    """

    nats: jax.Array
    pixels: jax.Array
    square: jax.Array


def _measured(
    run: Trained, steps: Steps, on_part: OnPart
) -> Iterator[tuple[np.ndarray, tuple[int, int], list[int], _Shown]]:
    """Yield (rows, (number of steps received, pass), parts, values) for every batch, number and pass.

    Part 0 of the code is the latent term, parts 1 .. T are the steps, and part T + 1 is the reconstruction term.
    """
    seed, passes = np.uint32(run.config.eval.seed), np.arange(run.config.eval.passes, dtype=np.int32)
    points = [(steps, *place) for place in product(np.arange(steps.depth, dtype=np.int32), passes)]
    for rows, (_, number, group), found in sweep(run, points, partial(_at_step, run.model, seed), on_part):
        yield rows, (number, group), [1 + number], found
    ends = [(np.int32(steps.depth), group) for group in passes]
    for rows, place, found in sweep(run, ends, partial(_at_ends, run.model, seed), lambda part: None):
        yield rows, place, [0, 1 + steps.depth], found


def _at_step(model: Model, seed: Any, params: Params, batch: Batch, indices, valid, steps, number, group):
    """`_Shown` after `number` of the steps; the next step is the part of the code."""
    pixels, process = batch.pixels, bind_to(model, params, batch)
    eps = gaussian_each(image_keys(seed, indices, group), number, model.spec.shape)
    found = progressive.stage(process, process.step(steps, steps.depth - 1 - number, len(pixels)), pixels, eps)
    return _Shown(found.cost[None], found.pixels, _square(model, found.pixels, pixels))


def _at_ends(model: Model, seed: Any, params: Params, batch: Batch, indices, valid, number, group) -> _Shown:
    """After all steps, `number` of them; the parts of the code are the latent and the reconstruction term."""
    pixels, process = batch.pixels, bind_to(model, params, batch)
    eps = gaussian_each(image_keys(seed, indices, group), number, model.spec.shape)
    shown, *nats = progressive.ends(process, pixels, eps)
    return _Shown(jnp.stack(nats), shown, _square(model, shown, pixels))


def _square(model: Model, shown: jax.Array, pixels: jax.Array) -> jax.Array:
    """Mean squared error of the pixels shown [B], on a scale of 0 .. 255."""
    scale = LARGEST_PIXEL / (model.spec.pixel_levels - 1)
    return sum_dims(jnp.square(scale * (shown.astype(jnp.float32) - pixels.astype(jnp.float32)))) / model.spec.dims
