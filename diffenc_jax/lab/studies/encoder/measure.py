"""Effects of an encoder on the images of a split at many γ, and all measurements of the study together."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.streams import gaussian_each, stream
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.gaussian import diffuse, sum_dims
from diffenc_jax.evaluation.uncertainty import mean_and_error
from diffenc_jax.lab.studies.encoder.bounds import measure_bounds, measure_ends
from diffenc_jax.lab.studies.encoder.price import model_rate, with_head
from diffenc_jax.lab.studies.encoder.study import Arguments, EncoderEffects
from diffenc_jax.lab.studies.study import Watch
from diffenc_jax.lab.studies.sweep import OnPart, by_image, root_mean, rows_of_columns
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.runs.trained import Trained

# Number of γ whose images are drawn.
COLUMNS = 5


class ByGamma(NamedTuple):
    """Effects of an encoder on N images at G values of γ = -λ; float64, with x in -1 .. 1.

    Values [N, G] are means over the dimensions, except for the price. x_t - x is computed in float32, with an error of
    about 6e-8. There is one draw of z_t per image and γ.

    Attributes:
      gamma: [G].
      difference: [N, G] (x_t - x)².
      derivative: [N, G] (dx_t/dγ)².
      residual: [N, G] (dx_t/dλ - σ_t² x̂)²: the part of the encoder's drift that the generative model, whose mean drifts
        by σ_t² x̂, misses. It is σ_t² times the `residual` of `by_time`.
      price: [N, G] nats per example and unit of γ, see `price.model_rate`; None if the model estimates no slope.
    """

    gamma: np.ndarray
    difference: np.ndarray
    derivative: np.ndarray
    residual: np.ndarray
    price: np.ndarray | None = None


def measure_encoder(run: Trained, arguments: Arguments, watch: Watch) -> EncoderEffects:
    """Everything that the study measures; finished bounds are used again."""
    bounds, records = measure_bounds(run, watch)
    ends = measure_ends(run, records)
    headed = with_head(run, arguments.head_steps, watch)
    with watch("images by γ", 1.0) as on_part:
        effects = measure_by_gamma(headed, arguments.gammas, on_part=on_part)
    shown = np.unique(np.linspace(0, arguments.gammas - 1, COLUMNS).round().astype(int)).tolist()
    price, bits = effects.price, partial(mean_bits, dims=run.model.spec.dims)
    predictor = "derivative head" if headed.model.has_derivative_head else "score network"
    trained, identity = ends.values()
    return EncoderEffects(
        rows=rows_by_gamma(effects, run.model.spec.dims),
        predictor="" if price is None else predictor,
        price=None if price is None else bits(np.trapezoid(price, effects.gamma, axis=1)),
        ends={path: {name: bits(nats) for name, nats in terms._asdict().items()} for path, terms in ends.items()},
        won=bits(identity.cost - trained.cost),
        bounds=bounds,
        shown=shown,
        pictures=encoded_images(run, effects.gamma[shown], arguments.images),
    )


def mean_bits(nats: np.ndarray, dims: int) -> list[float]:
    """Mean over images of nats [N], and its standard error, in bits/dim."""
    return list(map(float, mean_and_error(nats / (dims * math.log(2)))))


def rows_by_gamma(effects: ByGamma, dims: int) -> list[dict[str, float]]:
    """`EncoderEffects.rows`."""
    columns = {"gamma": effects.gamma}
    for name in ("difference", "derivative", "residual"):
        columns[name], columns[f"{name}_se"] = root_mean(getattr(effects, name))
    if effects.price is not None:
        columns["price"], columns["price_se"] = mean_and_error(effects.price / (dims * math.log(2)))
    return rows_of_columns(columns)


def measure_by_gamma(run: Trained, gammas: int, seed: int = 0, on_part: OnPart = lambda part: None) -> ByGamma:
    """Effects on all images of the split that `run` evaluates on, at `gammas` values evenly spaced from γ_0 to γ_1.

    The noise of a value depends only on (seed, position of the image in the split, number of the γ), so no value
    depends on the batch size or the devices.
    """
    low, high = map(float, run.model.bind(run.params).endpoints)
    gamma = np.linspace(low, high, gammas)
    points = [(np.float32(value), np.int32(number)) for number, value in enumerate(gamma)]
    values = by_image(run, points, partial(_effects, run.model, seed), on_part)
    return ByGamma(gamma, *np.ascontiguousarray(values.transpose(1, 2, 0)))


def _effects(model: Model, seed: int, params: Params, batch: Batch, indices, valid, gamma, number):
    """The values of `ByGamma` of a batch at one γ, [3, B], or [4, B] with the price."""
    process = bind_to(model, params, batch)
    x = process.pixel_values(batch.pixels)
    gammas, sigma2 = jnp.full(len(x), gamma), jax.nn.sigmoid(gamma)

    def noise(name: str) -> jax.Array:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(seed, name), indices)
        return gaussian_each(keys, number, x.shape[1:])

    x_t, slope, *_ = process.encoder.mean_and_slope(x, gammas)
    z_t, _ = diffuse(x_t, gammas, noise("encoder study"))
    correction = process.assumed_at(process.estimate(z_t, gammas), gammas).correction
    squares = (jnp.square(array) for array in (x_t - x, sigma2 * slope, sigma2 * (slope + correction)))
    values = [sum_dims(array) / model.spec.dims for array in squares]
    if model.estimates_slope:
        values.append(model_rate(process, x, gammas, noise("price of the drift")))
    return jnp.stack(values)


def encoded_images(run: Trained, gamma: np.ndarray, count: int) -> np.ndarray:
    """The first images, and x_t of them at each γ, float32 [n, 1 + G, H, W, C]."""
    images = run.dataset.examples(run.config.eval.split)
    batch = jax.tree.map(lambda array: np.asarray(array[:count]), images)

    @jax.jit
    def encode(params: Params, batch: Batch, gamma: jax.Array) -> jax.Array:
        process = bind_to(run.model, params, batch)
        x = process.pixel_values(batch.pixels)
        x_t = jax.vmap(lambda value: process.encoder.mean(x, jnp.full(len(x), value)), out_axes=1)(gamma)
        return jnp.concatenate([x[:, None], x_t], axis=1)

    return np.asarray(encode(run.params, batch, jnp.asarray(gamma, jnp.float32)))
