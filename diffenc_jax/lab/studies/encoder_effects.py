"""Effects of an encoder on every image by noise level."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.api import TrainedRun
from diffenc_jax.core.streams import gaussian_each, stream
from diffenc_jax.diffusion.gaussian import diffuse, sum_dims
from diffenc_jax.evaluation.means import mean_and_error
from diffenc_jax.lab.studies.encoder_price import model_rate
from diffenc_jax.lab.studies.study import Rows
from diffenc_jax.lab.studies.sweep import Chunk, OnPart, by_image, root_mean, rows_of_columns
from diffenc_jax.model import Model, bind_to


class ByGamma(NamedTuple):
    """Effects of an encoder on N images at G values of γ = -λ; float64, with x in -1 .. 1.

    Values [N, G] are means over the dimensions, except for the price. x_t - x is computed in float32, with an error of
    about 6e-8. There is one draw of z_t per image and γ.

    Attributes:
      gamma: [G].
      difference: [N, G] (x_t - x)².
      derivative: [N, G] (dx_t/dγ)².
      residual: [N, G] (dx_t/dλ - σ_t² x̂)²: the error of σ_t² x̂, the drift of the generative mean, as an estimate of
        the encoder's drift. It is σ_t² times the `residual` of `by_time`.
      price: [N, G] nats per example and unit of γ, see `model_rate`; None if the model estimates no slope.
    """

    gamma: np.ndarray
    difference: np.ndarray
    derivative: np.ndarray
    residual: np.ndarray
    price: np.ndarray | None = None


def mean_bits(nats: np.ndarray, dims: int) -> list[float]:
    """Mean over images of nats [N], and its standard error, in bits/dim."""
    return list(map(float, mean_and_error(nats / (dims * math.log(2)))))


def rows_by_gamma(effects: ByGamma, dims: int) -> Rows:
    """`encoder.EncoderEffects.rows`."""
    columns = {"gamma": effects.gamma}
    for name in ("difference", "derivative", "residual"):
        columns[name], columns[f"{name}_se"] = root_mean(getattr(effects, name))
    if effects.price is not None:
        columns["price"], columns["price_se"] = mean_and_error(effects.price / (dims * math.log(2)))
    return rows_of_columns(columns)


def measure_by_gamma(run: TrainedRun, gammas: int, on_part: OnPart = lambda part: None) -> ByGamma:
    """Effects on all images of the split that `run` evaluates on, at `gammas` values evenly spaced from γ_0 to γ_1.

    The noise of a value depends only on the position of the image in the split and the number of the γ, so no value
    depends on the batch size or the devices.
    """
    low, high = map(float, run.model.bind(run.params).endpoints)
    gamma = np.linspace(low, high, gammas)
    points = [(np.float32(value), np.int32(number)) for number, value in enumerate(gamma)]
    values = by_image(run, points, partial(_effects, run.model), on_part)
    return ByGamma(gamma, *np.ascontiguousarray(values.transpose(1, 2, 0)))


def _effects(model: Model, chunk: Chunk, gamma, number) -> jax.Array:
    """The values of `ByGamma` of a batch at one γ, [3, B], or [4, B] with the price."""
    process = chunk.process
    x = process.decoder.values(chunk.data)
    gammas, sigma2 = jnp.full(len(x), gamma), jax.nn.sigmoid(gamma)

    def noise(name: str) -> jax.Array:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(0, name), chunk.indices)
        return gaussian_each(keys, number, x.shape[1:])

    x_t, slope, *_ = process.encoder.mean_and_slope(x, gammas)
    z_t, _ = diffuse(x_t, gammas, noise("encoder study"))
    correction = process.assumed_at(process.estimate(z_t, gammas), gammas).correction
    squares = (jnp.square(array) for array in (x_t - x, sigma2 * slope, sigma2 * (slope + correction)))
    values = [sum_dims(array) / model.spec.dims for array in squares]
    if model.estimates_slope:
        values.append(model_rate(process, x, gammas, noise("price of the drift")))
    return jnp.stack(values)


def encoded_images(run: TrainedRun, gamma: np.ndarray, count: int) -> np.ndarray:
    """The first images, and x_t of them at each γ, float32 [n, 1 + G, H, W, C]."""
    images = run.dataset.split(run.config.eval.split).examples
    batch = jax.tree.map(lambda array: np.asarray(array[:count]), images)

    @jax.jit
    def encode(params, batch, gamma):
        process = bind_to(run.model, params, batch)
        x = process.decoder.values(batch.data)
        x_t = jax.vmap(lambda value: process.encoder.mean(x, jnp.full(len(x), value)), out_axes=1)(gamma)
        return jnp.concatenate([x[:, None], x_t], axis=1)

    return np.asarray(encode(run.params, batch, jnp.asarray(gamma, jnp.float32)))
