"""What an encoder does to the images of a split at each of many γ, and a table of it."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diffenc_jax import tables
from diffenc_jax.data.pipeline import eval_batches
from diffenc_jax.diffusion import decoder, losses
from diffenc_jax.diffusion.gaussian import align, sum_dims
from diffenc_jax.model import Model, Params
from diffenc_jax.stats.uncertainty import mean_and_error
from diffenc_jax.streams import gaussian_each, stream
from diffenc_jax.train import sharding

# Of these the table has the root of the mean, of the others the mean.
SQUARES = ("difference", "derivative", "residual")
AMOUNTS = ("added", "removed")


class ByGamma(NamedTuple):
    """x in -1 .. 1 and x_t of N images at G values of γ = -λ; float64.

    Attributes:
      gamma: [G].
      difference: [N, G] (x_t - x)², a mean over the dimensions.
      derivative: ditto, (dx_t/dγ)².
      residual: ditto, (dx_t/dλ - σ_t² x̂)², one draw of z_t an image and γ: what the generative model, whose mean drifts
        by σ_t² x̂, misses of the encoder's drift. It is σ_t² times the `residual` of by_time.py.
      added: ditto, max(x_t - x, 0); `removed`: ditto, max(x - x_t, 0).
      added_map: [G, H, W, C] the same pixel by pixel, a mean over the images; `removed_map` likewise.
      x_rms: root mean square of x, over all images.
      x: [n, H, W, C] the first images themselves, and
      x_t: [n, G, H, W, C] what the encoder makes of them, and
      dx_t: ditto, dx_t/dγ.

    x_t - x is taken in float32, and so known to about 6e-8.
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


def by_gamma(
    model: Model,
    params: Params,
    images: np.ndarray,
    mesh: Mesh,
    gammas: int = 41,
    keep: int = 8,
    seed: int = 0,
    batch_size: int = 128,
    on_batch: Callable[[float], None] = lambda share: None,
) -> ByGamma:
    """Looks at every image at γ spread evenly between the ends of the path, both included.

    The noise of a residual comes from (seed, the image's place in `images`, the number of the γ) alone, so that no
    value depends on the batch size or the devices.

    Args:
      images: uint8 [N, H, W, C] of a split, all of it and in its order.
      gammas: G.
      keep: n, how many images, the first ones, are kept as they are.
      batch_size: rounded up to a multiple of the devices.
      on_batch: told the share of the work that is done.
    """
    size, shape, keep = sharding.round_up(mesh, batch_size), images.shape[1:], min(keep, len(images))
    gamma = np.linspace(*(float(end) for end in model.ends(params)), gammas)
    look = jax.jit(partial(_look, model, seed), out_shardings=sharding.replicated(mesh))

    def started():
        for batch in eval_batches(images, size):
            pixels, indices = (sharding.to_devices(mesh, a) for a in (batch.images, batch.indices))
            for g in range(gammas):
                got = look(params, pixels, indices, np.int32(batch.valid), np.float32(gamma[g]), np.int32(g))
                yield (batch.indices[: batch.valid], g), got

    values, maps = np.empty((5, len(images), gammas)), np.zeros((2, gammas, *shape))
    shown = np.empty((2, keep, gammas, *shape))
    total = math.ceil(len(images) / size) * gammas
    for done, ((rows, g), (by_image, sums, *arrays)) in enumerate(sharding.in_flight(started()), start=1):
        values[:, rows, g] = np.asarray(by_image)[:, : len(rows)]
        maps[:, g] += np.asarray(sums)
        kept = rows[rows < keep]
        for place, array in zip(shown, arrays, strict=True):
            if len(kept):
                place[kept, g] = np.asarray(array)[: len(kept)]
        on_batch(done / total)
    levels = model.spec.levels
    level = np.asarray(decoder.pixel_values(jnp.asarray(np.arange(levels, dtype=np.uint8)), levels), np.float64)
    x_rms = math.sqrt(np.mean([np.square(level[image]).mean() for image in images]))
    return ByGamma(gamma, *values, *maps / len(images), x_rms, level[images[:keep]], *shown)


def _look(model: Model, seed: int, params: Params, pixels, indices, valid, gamma, number):
    """Of a batch at one γ: the five values of `ByGamma` [5, B], sums for its maps [2, H, W, C], x_t, and dx_t/dγ."""
    x = decoder.pixel_values(pixels, model.spec.levels)
    gammas, sigma2 = jnp.full(len(x), gamma), jax.nn.sigmoid(gamma)
    x_t, slope = model.encoder(params).mean_and_slope(x, gammas)
    eps = _draw_noise(seed, x.shape[1:], indices, number)
    _, x_hat = losses.estimate(model.predict_v(params), x_t, gammas, eps)
    added, removed = jnp.maximum(x_t - x, 0.0), jnp.maximum(x - x_t, 0.0)
    squares = (jnp.square(array) for array in (x_t - x, sigma2 * slope, sigma2 * (slope + x_hat)))
    by_image = jnp.stack([sum_dims(array) / model.spec.dims for array in (*squares, added, removed)])
    real = align((jnp.arange(len(x)) < valid).astype(x.dtype), x)
    sums = jnp.stack([jnp.sum(real * array, axis=0) for array in (added, removed)])
    return by_image, sums, x_t, sigma2 * slope


def _draw_noise(seed: int, shape: tuple[int, ...], indices: jax.Array, number: jax.Array) -> jax.Array:
    """ε [B, *shape] of the images at `indices` [B] for the γ of that number."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(seed, "encoder study"), indices)
    return gaussian_each(keys, number, shape)


def table(seen: ByGamma) -> list[dict[str, float]]:
    """A row for each γ: every value, a dimension, with its standard error over images (_se).

    Of squares the root of the mean m, whose error is that of m over 2 √m.
    """
    columns = {"gamma": seen.gamma}
    for name in (*SQUARES, *AMOUNTS):
        mean, error = mean_and_error(getattr(seen, name))
        if name in SQUARES:
            mean = np.sqrt(mean)
            error = np.divide(error, 2 * mean, out=np.zeros_like(mean), where=mean > 0)
        columns[name], columns[f"{name}_se"] = mean, error
    return tables.rows(columns)
