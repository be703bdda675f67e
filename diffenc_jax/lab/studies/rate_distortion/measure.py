"""Rate and distortion of every image of a split after each step from noise to data."""

import math
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.streams import gaussian_each
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion import progressive
from diffenc_jax.diffusion.gaussian import sum_dims
from diffenc_jax.evaluation.estimator import image_keys
from diffenc_jax.evaluation.evaluator import eval_precision, in_eval_dtype
from diffenc_jax.evaluation.fit import steps_for
from diffenc_jax.evaluation.means import mean_and_error
from diffenc_jax.lab.studies.rate_distortion.study import Rates
from diffenc_jax.lab.studies.sweep import OnPart, by_image, root_mean
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.runs.trained import Trained

# Errors of pixels are on this scale, whatever the number of pixel levels.
LARGEST_PIXEL = 255
COLUMNS = ("steps", "gamma", "rate", "rate_se", "rmse", "rmse_se")


class ImageRates(NamedTuple):
    """Rate and distortion of N images in P passes over T steps; float64.

    Attributes:
      gamma: [T + 1] γ of z_t, from γ_1 at the noise to γ_0 at the data.
      rate: [P, N, T + 2] bits/dim of z_1 and of the steps down to each z_t, and last of the pixels as well.
      square: [P, N, T + 1] mean squared error over the pixels of the image shown at each z_t, on a scale of 0 .. 255.
    """

    gamma: np.ndarray
    rate: np.ndarray
    square: np.ndarray


def summarize(values: ImageRates) -> Rates:
    """Means over images and passes; the errors contain the noise, since each pass has its own."""
    gamma, steps = [*map(float, values.gamma), None], [*range(len(values.gamma)), len(values.gamma) - 1]
    rate, square = (one.mean(axis=0) for one in (values.rate, values.square))
    known = np.zeros((len(square), 1))  # the pixels, which are shown as they are
    columns = [*mean_and_error(rate), *root_mean(np.concatenate([square, known], axis=1))]
    rows = zip(steps, gamma, *(column.tolist() for column in columns), strict=True)
    return Rates([dict(zip(COLUMNS, row, strict=True)) for row in rows])


def measure_rate_distortion(run: Trained, on_part: OnPart = lambda part: None) -> ImageRates:
    """Rate and distortion over the steps of `run.config.loss`, of finite depth, in `run.config.eval.passes` passes.

    z_t is drawn from q(z_t | x) anew for every step. Its noise depends only on (eval.seed, position of the image in the
    split, pass, number of the step), so no value depends on the batch size or the devices.
    """
    run, settings = in_eval_dtype(run), run.config.eval
    seed, passes = np.uint32(settings.seed), np.arange(settings.passes, dtype=np.int32)
    with eval_precision(settings):
        steps = steps_for(run, run.params, run.config.loss)
        places = product(np.arange(steps.depth, dtype=np.int32), passes)
        stages = by_image(run, [(steps, *place) for place in places], partial(_at_step, run.model, seed), on_part)
        ends = by_image(run, [(np.int32(steps.depth), number) for number in passes], partial(_at_ends, run.model, seed))
    costs, squares = stages.reshape(steps.depth, len(passes), 2, -1).transpose(2, 1, 3, 0)
    latent, reconstruction, last = ends.swapaxes(0, 1)[..., None]
    nats = np.concatenate([latent, costs, reconstruction], axis=2)
    rate = np.cumsum(nats, axis=2) / (math.log(2) * run.model.spec.dims)
    gamma = np.asarray(steps.gamma, np.float64)[::-1]
    return ImageRates(gamma, rate, np.concatenate([squares, last], axis=2))


def _at_step(model: Model, seed: Any, params: Params, batch: Batch, indices, valid, steps, number, group) -> jax.Array:
    """Nats of the next step after `number` of the steps, and the squared error of the image shown, [2, B]."""
    pixels, process = batch.pixels, bind_to(model, params, batch)
    eps = gaussian_each(image_keys(seed, indices, group), number, model.spec.shape)
    stage = progressive.stage(process, process.step(steps, steps.depth - 1 - number, len(pixels)), pixels, eps)
    return jnp.stack([stage.cost, _square(model, stage.pixels, pixels)])


def _at_ends(model: Model, seed: Any, params: Params, batch: Batch, indices, valid, number, group) -> jax.Array:
    """Nats of the latent and the reconstruction term, and the squared error after all `number` steps, [3, B]."""
    pixels, process = batch.pixels, bind_to(model, params, batch)
    eps = gaussian_each(image_keys(seed, indices, group), number, model.spec.shape)
    shown, latent, reconstruction = progressive.ends(process, pixels, eps)
    return jnp.stack([latent, reconstruction, _square(model, shown, pixels)])


def _square(model: Model, shown: jax.Array, pixels: jax.Array) -> jax.Array:
    """Mean squared error of the pixels shown [B], on a scale of 0 .. 255."""
    scale = LARGEST_PIXEL / (model.spec.pixel_levels - 1)
    return sum_dims(jnp.square(scale * (shown.astype(jnp.float32) - pixels.astype(jnp.float32)))) / model.spec.dims
