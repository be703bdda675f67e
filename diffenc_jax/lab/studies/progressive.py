"""Progressive coding: the image that a receiver can show after some of the steps (arXiv 2006.11239, section 4.3).

The bound is the length of a code that sends z_1, then z_s given z_t step by step from the noise to the data, and last
the pixels given z_0. A receiver of z_t has received the latent term and the steps above t, and can show an image.
"""

import math
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.api import TrainedRun
from diffenc_jax.core.streams import gaussian_each
from diffenc_jax.diffusion.arrays import Images, PerExample, Pixels
from diffenc_jax.diffusion.gaussian import sum_dims
from diffenc_jax.diffusion.losses import errors_at, latent
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.steps import Step, Steps
from diffenc_jax.evaluation.estimator import image_keys
from diffenc_jax.evaluation.evaluator import eval_model, eval_precision
from diffenc_jax.evaluation.fit import steps_for
from diffenc_jax.evaluation.means import mean_and_error
from diffenc_jax.lab.studies.study import Rows
from diffenc_jax.lab.studies.sweep import Chunk, OnPart, by_image, root_mean, rows_of_columns

# Errors of pixels are on this scale, whatever the number of pixel levels.
LARGEST_PIXEL = 255


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


def measure_rates(run: TrainedRun, on_part: OnPart = lambda part: None) -> ImageRates:
    """Rate and distortion over the steps of `run.config.loss`, of finite depth, in `run.config.eval.passes` passes.

    z_t is drawn from q(z_t | x) anew for every step. Its noise depends only on (eval.seed, position of the image in the
    split, pass, number of the step), so no value depends on the batch size or the devices.
    """
    run, settings = run.changed(model=eval_model(run)), run.config.eval
    seed, passes = np.uint32(settings.seed), np.arange(settings.passes, dtype=np.int32)
    with eval_precision(settings):
        steps = steps_for(run, run.params, run.config.loss)
        places = product(np.arange(steps.depth, dtype=np.int32), passes)
        stages = by_image(run, [(steps, *place) for place in places], partial(at_step, seed), on_part)
        at_both_ends = by_image(run, [(np.int32(steps.depth), number) for number in passes], partial(at_ends, seed))
    costs, squares = stages.reshape(steps.depth, len(passes), 2, -1).transpose(2, 1, 3, 0)
    first, reconstruction, last = at_both_ends.swapaxes(0, 1)[..., None]
    nats = np.concatenate([first, costs, reconstruction], axis=2)
    rate = np.cumsum(nats, axis=2) / (math.log(2) * run.model.spec.dims)
    gamma = np.asarray(steps.gamma, np.float64)[::-1]
    return ImageRates(gamma, rate, np.concatenate([squares, last], axis=2))


def rows_of_rates(values: ImageRates) -> Rows:
    """`rate_distortion.Rates.rows`. The errors include the noise, since each pass has separate noise."""
    gamma, steps = [*map(float, values.gamma), None], [*range(len(values.gamma)), len(values.gamma) - 1]
    rate, square = (one.mean(axis=0) for one in (values.rate, values.square))
    known = np.zeros((len(square), 1))  # the pixels, which are shown as they are
    columns = {}
    columns["rate"], columns["rate_se"] = mean_and_error(rate)
    columns["rmse"], columns["rmse_se"] = root_mean(np.concatenate([square, known], axis=1))
    rows = zip(steps, gamma, rows_of_columns(columns), strict=True)
    return [{"steps": number, "gamma": at, **row} for number, at, row in rows]


def at_step(seed: Any, chunk: Chunk, steps: Steps, number: jax.Array, group: jax.Array) -> jax.Array:
    """Nats of the next step after `number` of the steps, and the squared error of the image shown, [2, B]."""
    step = chunk.process.step(steps, steps.depth - 1 - number, len(chunk.data))
    shown, nats = stage(chunk.process, step, chunk.data, _noise(seed, chunk, number, group))
    return jnp.stack([nats, _square(chunk, shown)])


def at_ends(seed: Any, chunk: Chunk, number: jax.Array, group: jax.Array) -> jax.Array:
    """Nats of the latent and the reconstruction term, and the squared error after all `number` steps, [3, B]."""
    shown, *nats = ends(chunk.process, chunk.data, _noise(seed, chunk, number, group))
    return jnp.stack([*nats, _square(chunk, shown)])


def stage(process: Process, step: Step, pixels: Pixels, eps: Images) -> tuple[Pixels, PerExample]:
    """The image shown at z_t = α_t x_t + σ_t ε, and the cost of the next step.

    Returns:
      uint8 [B, ...], the pixels nearest to `Process.image` at z_t, or to x̂(z_t) if that determines no image; and
      KL(q(z_s | z_t, x) ‖ p(z_s | z_t)), nats per example [B].
    """
    errors = errors_at(process, step, process.decoder.values(pixels), eps)
    image = process.image(errors.estimate, step.gamma_t)
    shown = errors.estimate.x_hat if image is None else image
    return process.decoder.mode(shown), step.loss(errors) / step.depth


def ends(process: Process, pixels: Pixels, eps: Images) -> tuple[Pixels, PerExample, PerExample]:
    """The most probable pixels given z_0 = α_0 x_0 + σ_0 ε, and the terms of the bound at both ends.

    Returns:
      Pixels uint8 [B, ...], and the latent and the reconstruction term, nats per example [B].
    """
    decoder, (gamma_0, gamma_1) = process.decoder, process.endpoints
    x = decoder.values(pixels)
    start, end = (process.encoder.encode(x, jnp.full(len(x), gamma)) for gamma in (gamma_0, gamma_1))
    u = start.x_t + jnp.exp(0.5 * gamma_0) * start.noise(eps)
    at_noise = latent(end.x_t, gamma_1, end.log_std, process.code_nats)
    return decoder.mode(u), at_noise, -decoder.log_likelihood(u, pixels, gamma_0)


def _noise(seed, chunk, number, group):
    """ε [B, H, W, C] after `number` of the steps in one pass."""
    return gaussian_each(image_keys(seed, chunk.indices, group), number, chunk.data.shape[1:])


def _square(chunk, shown):
    """Mean squared error of the pixels shown [B], on a scale of 0 .. 255."""
    scale = LARGEST_PIXEL / (chunk.process.decoder.pixel_levels - 1)
    difference = scale * (shown.astype(jnp.float32) - chunk.data.astype(jnp.float32))
    return sum_dims(jnp.square(difference)) / shown[0].size
