"""Effects of an encoder on the images of a split at many γ, and all measurements of the study together."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.streams import gaussian_each, stream
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.decoder import pixel_values
from diffenc_jax.diffusion.gaussian import diffuse, sum_dims
from diffenc_jax.evaluation.uncertainty import mean_and_error
from diffenc_jax.lab.studies.encoder.ends import Ends, measure_ends
from diffenc_jax.lab.studies.encoder.head import with_head
from diffenc_jax.lab.studies.encoder.price import measure_model_rates
from diffenc_jax.lab.studies.encoder.replaced import measure_bounds
from diffenc_jax.lab.studies.encoder.study import Arguments, Encoder
from diffenc_jax.lab.studies.study import Watch
from diffenc_jax.lab.studies.sweep import OnPart, rows_of_columns, split_images, sweep
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.runs.trained import Trained

# Number of γ whose images are drawn.
COLUMNS = 5


class ByGamma(NamedTuple):
    """Effects of an encoder on N images at G values of γ = -λ; float64, with x in -1 .. 1.

    Values [N, G] are means over the dimensions. x_t - x is computed in float32, with an error of about 6e-8.

    Attributes:
      gamma: [G].
      difference: [N, G] (x_t - x)².
      derivative: [N, G] (dx_t/dγ)².
      residual: [N, G] (dx_t/dλ - σ_t² x̂)² at one draw of z_t per image and γ: the part of the encoder's drift that the
        generative model, whose mean drifts by σ_t² x̂, misses. It is σ_t² times the `residual` of `by_time`.
      x: [n, H, W, C] the first images.
      x_t, dx_t: [n, G, H, W, C] their encoded images, and dx_t/dγ.
    """

    gamma: np.ndarray
    difference: np.ndarray
    derivative: np.ndarray
    residual: np.ndarray
    x: np.ndarray
    x_t: np.ndarray
    dx_t: np.ndarray


def measure_encoder(run: Trained, arguments: Arguments, watch: Watch) -> Encoder:
    """Everything that the study measures; finished bounds and a finished head are used again."""
    with watch("images by γ", 1.0) as on_part:
        effects = measure_by_gamma(run, arguments.gammas, arguments.images, on_part=on_part)
    bounds, records = measure_bounds(run, watch)
    ends = measure_ends(run, records)
    headed = with_head(run, arguments.head_steps, watch)
    rates = None
    if headed.model.estimates_slope:
        with watch("price by γ", 1.0) as on_part:
            rates = measure_model_rates(headed, effects.gamma, on_part=on_part)
    predictor = "derivative head" if headed.model.has_derivative_head else "score network"
    return summarize(effects, rates, predictor, ends, bounds, run.model.spec.dims)


def summarize(
    effects: ByGamma,
    rates: np.ndarray | None,
    predictor: str,
    ends: dict[str, Ends],
    bounds: dict[str, dict[str, Any]],
    dims: int,
) -> Encoder:
    """Means over images, from rates [N, G] of the price and terms in nats. The error of √m is that of m over 2 √m."""

    def bits(nats):
        return list(map(float, mean_and_error(nats / (dims * math.log(2)))))

    columns = {"gamma": effects.gamma}
    for name in ("difference", "derivative", "residual"):
        mean, error = mean_and_error(getattr(effects, name))
        columns[name] = root = np.sqrt(mean)
        columns[f"{name}_se"] = np.divide(error, 2 * root, out=np.zeros_like(root), where=root > 0)
    if rates is not None:
        columns["price"], columns["price_se"] = mean_and_error(rates / (dims * math.log(2)))
    trained, identity = ends.values()
    shown = even_places(effects, COLUMNS)
    return Encoder(
        rows=rows_of_columns(columns),
        predictor="" if rates is None else predictor,
        price=None if rates is None else bits(np.trapezoid(rates, effects.gamma, axis=1)),
        ends={path: {name: bits(nats) for name, nats in terms._asdict().items()} for path, terms in ends.items()},
        won=bits(identity.cost - trained.cost),
        bounds=bounds,
        shown=shown,
        x=effects.x.astype(np.float32),
        x_t=effects.x_t[:, shown].astype(np.float32),
        dx_t=effects.dx_t[:, shown].astype(np.float32),
    )


def even_places(effects: ByGamma, most: int) -> list[int]:
    """At most `most` positions on the grid of γ, the last of all among them, between which x_t moves equally far.

    The speed of x_t is the root mean square of dx_t/dγ. An encoder that never moves has positions evenly spaced in γ.
    """
    speed = np.sqrt(effects.derivative.mean(axis=0))
    moved = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(effects.gamma))])
    moved = moved if moved[-1] > 0 else effects.gamma - effects.gamma[0]
    wanted = moved[-1] * np.arange(1, most + 1) / most
    return np.unique(np.abs(moved[:, None] - wanted).argmin(axis=0)).tolist()


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
    low, high = map(float, run.model.bind(run.params).endpoints)
    gamma = np.linspace(low, high, gammas)
    values = np.empty((3, len(images), gammas))
    kept_arrays = np.empty((2, keep, gammas, *shape))
    points = [(np.float32(value), np.int32(g)) for g, value in enumerate(gamma)]
    compute = partial(_effects, run.model, seed)
    for rows, (_, g), (by_image, *arrays) in sweep(run, points, compute, on_part):
        values[:, rows, g] = np.asarray(by_image)[:, : len(rows)]
        kept = rows[rows < keep]
        for target, array in zip(kept_arrays, arrays, strict=True):
            if len(kept):
                target[kept, g] = np.asarray(array)[: len(kept)]
    levels = run.model.spec.pixel_levels
    level = np.asarray(pixel_values(jnp.asarray(np.arange(levels, dtype=np.uint8)), levels), np.float64)
    (difference, derivative, residual), (x_t, dx_t) = values, kept_arrays
    return ByGamma(gamma, difference, derivative, residual, level[images[:keep]], x_t, dx_t)


def _effects(model: Model, seed: int, params: Params, batch: Batch, indices, valid, gamma, number):
    """Effects on a batch at one γ: the three values of `ByGamma` [3, B], x_t and dx_t."""
    process = bind_to(model, params, batch)
    x = process.pixel_values(batch.pixels)
    gammas, sigma2 = jnp.full(len(x), gamma), jax.nn.sigmoid(gamma)
    x_t, slope, *_ = process.encoder.mean_and_slope(x, gammas)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(seed, "encoder study"), indices)
    z_t, _ = diffuse(x_t, gammas, gaussian_each(keys, number, x.shape[1:]))
    correction = process.assumed_at(process.estimate(z_t, gammas), gammas).correction
    squares = (jnp.square(array) for array in (x_t - x, sigma2 * slope, sigma2 * (slope + correction)))
    by_image = jnp.stack([sum_dims(array) / model.spec.dims for array in squares])
    return by_image, x_t, sigma2 * slope
