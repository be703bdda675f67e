"""The diffusion loss at infinite depth per image and cell of t, and the two errors that it consists of."""

import math
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.streams import gaussian, stream, uniform
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.gaussian import sum_dims
from diffenc_jax.diffusion.losses import errors_at
from diffenc_jax.evaluation.uncertainty import mean_and_error
from diffenc_jax.lab.studies.by_time.study import ByTime
from diffenc_jax.lab.studies.sweep import OnPart, by_image, rows_of_columns
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.runs.trained import Trained


class CellLosses(NamedTuple):
    """The loss on the cells [i, i + 1) / cells of t, at random times of each cell; float64.

    Each value is one draw and unbiased for the mean of its cell. So `diffusion.mean((0, 1))` is the loss of each cell,
    and `diffusion.mean()` an estimate of the bound's diffusion term.

    Attributes:
      t, gamma: [cells] centres of the cells, and γ there.
      edges: [cells + 1] γ at the ends of the cells.
      diffusion: [draws, images, cells] nats, ½ γ'(t) α_t² ‖v_t - v̂ + σ_t (slope + k x̂)‖², see `Instant.loss`.
      velocity: [draws, images, cells] ‖v_t - v̂‖².
      residual: [draws, images, cells] ‖σ_t (slope + k x̂)‖², the part of the encoder's drift that the model misses.
        With λ = -γ and slope = (dx_t/dγ) / σ_t² it is ‖dx_t/dλ - σ_t² x̂‖² / σ_t² for an encoder that drifts (k = 1;
        arXiv 2310.19789), and zero for the identity.

    `diffusion` differs from ½ γ' α_t² (velocity + residual) by the product of the two errors.
    """

    t: np.ndarray
    gamma: np.ndarray
    edges: np.ndarray
    diffusion: np.ndarray
    velocity: np.ndarray
    residual: np.ndarray


def measure_loss_by_time(
    run: Trained, cells: int, num_draws: int, seed: int = 0, on_part: OnPart = lambda part: None
) -> CellLosses:
    """The loss by time of all images of the split that `run` evaluates on.

    The noise of a value depends only on (seed, position of the image in the split, cell, number of the draw), so no
    value depends on the batch size or the devices, and runs are compared under common noise.

    Args:
      cells: number of equal parts of t in [0, 1).
      num_draws: draws of a time and a noise per image and cell.
    """
    points = list(product(np.arange(num_draws, dtype=np.int32), np.arange(cells, dtype=np.int32)))
    values = by_image(run, points, partial(_values, run.model, seed, cells), on_part)
    values = values.reshape(num_draws, cells, 3, -1).transpose(2, 0, 3, 1)
    t = np.arange(2 * cells + 1) / (2 * cells)  # edges and centres alternate
    gamma = np.asarray(run.model.bind(run.params).gamma(jnp.asarray(t, jnp.float32)), np.float64)
    return CellLosses(t[1::2], gamma[1::2], gamma[::2], *np.ascontiguousarray(values))


def summarize(values: CellLosses, dims: int) -> ByTime:
    """Means over images; an image's value is the mean of its draws, so the errors contain the noise of the draws."""
    width = np.diff(values.edges)
    dgamma = width * len(width)  # the mean γ' of each cell: diffusion / dgamma is the loss per unit of γ
    scales = {"diffusion": 1 / (dims * math.log(2) * dgamma), "velocity": 1 / dims, "residual": 1 / dims}
    columns = {"t": values.t, "gamma": values.gamma, "gamma_width": width}
    for name, scale in scales.items():
        columns[name], columns[f"{name}_se"] = mean_and_error(getattr(values, name).mean(axis=0) * scale)
    area = mean_and_error(values.diffusion.mean(axis=0) * scales["diffusion"] @ width)
    return ByTime(rows_of_columns(columns), *map(float, area))


def draw_noise(
    seed: int, cells: int, shape: tuple[int, ...], indices: jax.Array, draw: jax.Array, cell: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Times t [B], uniform in `cell`, and ε [B, *shape], of a draw for the images at `indices` [B]."""

    def one(index):
        key = jax.random.fold_in(stream(seed, "loss by time"), index)
        key_t, key_eps = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, cell), draw))
        return (cell + uniform(key_t)) / cells, gaussian(key_eps, shape)

    return jax.vmap(one)(indices)


def _values(model: Model, seed: int, cells: int, params: Params, batch: Batch, indices, valid, draw, cell):
    """[3, B]: diffusion, velocity and residual of `CellLosses`."""
    process = bind_to(model, params, batch)
    t, eps = draw_noise(seed, cells, model.spec.shape, indices, draw, cell)
    instant = process.place(t)
    errors = errors_at(process, instant, process.pixel_values(batch.pixels), eps)
    squares = (sum_dims(jnp.square(error)) for error in (errors.velocity, errors.drift))
    return jnp.stack([instant.loss(errors), *squares])
