"""Rate and distortion of every image of a split after each step from noise to data."""

import math
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.streams import gaussian_each
from diffenc_jax.diffusion.gaussian import sum_dims
from diffenc_jax.diffusion.progressive import ends, stage
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.estimator import image_keys
from diffenc_jax.evaluation.fit import steps_for
from diffenc_jax.model import Model, Params
from diffenc_jax.runs.trained import Trained
from diffenc_jax.studies.rate_distortion.table import LARGEST_PIXEL
from diffenc_jax.studies.sweep import OnPart, split_images, sweep


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


def measure_rate_distortion(run: Trained, keep: int, on_part: OnPart = lambda part: None) -> RateDistortion:
    """Rate and distortion over the steps of `run.config.loss`, of finite depth, in `run.config.eval.passes` passes.

    z_t is drawn from q(z_t | x) anew for every step. Its noise depends only on (eval.seed, position of the image in the
    split, pass, number of the step), so no value depends on the batch size or the devices.

    Args:
      keep: number of first images that are returned with the images shown for them.
    """
    images, passes = split_images(run), run.config.eval.passes
    steps = steps_for(run, run.params, run.config.loss)
    depth, shape, keep = steps.depth, images.shape[1:], min(keep, len(images))
    nats, square = np.empty((passes, len(images), depth + 2)), np.empty((passes, len(images), depth + 1))
    shown = np.empty((depth + 1, keep, *shape), np.uint8)

    def note(number, group, rows, pixels, error):
        square[group, rows, number] = np.asarray(error)[: len(rows)]
        kept = rows[rows < keep]
        if group == 0 and len(kept):
            shown[number, kept] = np.asarray(pixels)[: len(kept)]

    points = [(steps, *point) for point in product(*(np.arange(n, dtype=np.int32) for n in (depth, passes)))]
    for rows, (_, number, group), (cost, *found) in sweep(run, points, partial(_stage, run.model, _seed(run)), on_part):
        nats[group, rows, 1 + number] = np.asarray(cost)[: len(rows)]
        note(number, group, rows, *found)
    points = [(np.int32(depth), np.int32(group)) for group in range(passes)]
    at_ends = partial(_ends, run.model, _seed(run))
    for rows, (number, group), (costs, *found) in sweep(run, points, at_ends, lambda part: None):
        nats[group, rows, 0], nats[group, rows, -1] = np.asarray(costs)[:, : len(rows)]
        note(number, group, rows, *found)
    gamma = np.asarray(steps.gamma, np.float64)[::-1]
    rate = np.cumsum(nats, axis=2) / (math.log(2) * run.model.spec.dims)
    estimates_x = run.model.bind(run.params).encoder.inverts
    return RateDistortion(gamma, rate, square, estimates_x, images[:keep], shown)


def _seed(run: Trained) -> np.uint32:
    return np.uint32(run.config.eval.seed)


def _stage(
    model: Model, seed: np.uint32, params: Params, pixels, indices, valid, steps: Steps, number, group
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """After `number` of the steps: nats of the next step [B], the image shown, and its mean squared error [B]."""
    eps = gaussian_each(image_keys(seed, indices, group), number, pixels.shape[1:])
    found = stage(model.bind(params), steps.step(steps.depth - 1 - number, len(pixels)), pixels, eps)
    return found.cost, found.pixels, _square(model, found.pixels, pixels)


def _ends(
    model: Model, seed: np.uint32, params: Params, pixels, indices, valid, number, group
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """After all steps: nats of the latent and the reconstruction term [2, B], the image shown, and its error [B]."""
    eps = gaussian_each(image_keys(seed, indices, group), number, pixels.shape[1:])
    found = ends(model.bind(params), pixels, eps)
    return jnp.stack([found.latent, found.reconstruction]), found.pixels, _square(model, found.pixels, pixels)


def _square(model: Model, shown: jax.Array, pixels: jax.Array) -> jax.Array:
    """Mean squared error of the pixels shown [B], on a scale of 0 .. 255."""
    scale = LARGEST_PIXEL / (model.spec.pixel_levels - 1)
    return sum_dims(jnp.square(scale * (shown.astype(jnp.float32) - pixels.astype(jnp.float32)))) / model.spec.dims
