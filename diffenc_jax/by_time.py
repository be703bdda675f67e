"""The diffusion loss at infinite depth, image by image and cell by cell of t, and the two errors it is made of."""

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diffenc_jax.data.pipeline import eval_batches
from diffenc_jax.diffusion import decoder, losses
from diffenc_jax.diffusion.gaussian import sum_dims
from diffenc_jax.model import Model, Params
from diffenc_jax.streams import gaussian, stream, uniform
from diffenc_jax.train import sharding


class ByTime(NamedTuple):
    """The loss on the cells [i, i + 1) / cells of t, each looked at at random times of its own; float64.

    Each value is one draw, unbiased for the cell's mean: `diffusion.mean((0, 1))` are the means over the
    images, cell by cell, `(diffusion**2).mean((0, 1))` the means of the square, and `diffusion.mean()`
    estimates the bound's diffusion term.

    Attributes:
      t, gamma: [cells] the centres, and γ there.
      edges: [cells + 1] the γ between which the cells lie.
      diffusion: [looks, images, cells] nats, ½ γ'(t) α_t² ‖v_t - v̂ + σ_t (slope + k x̂)‖² (`losses.continuous`).
      velocity: ditto, ‖v_t - v̂‖².
      residual: ditto, ‖σ_t (slope + k x̂)‖², what the model misses of the encoder's drift. With λ = -γ and
        slope = (dx_t/dγ) / σ_t² it is ‖dx_t/dλ - σ_t² x̂‖² / σ_t² for an encoder that drifts (k = 1;
        arXiv 2310.19789), and zero for the identity.

    `diffusion` differs from ½ γ' α_t² (velocity + residual) by the product of the two errors.
    """

    t: np.ndarray
    gamma: np.ndarray
    edges: np.ndarray
    diffusion: np.ndarray
    velocity: np.ndarray
    residual: np.ndarray

    @property
    def dgamma(self) -> np.ndarray:
        """[cells] γ' averaged over the cell.

        So diffusion / dgamma is the loss a unit of γ, and the area under it the bound's term, whatever the schedule.
        """
        return np.diff(self.edges) * len(self.t)


def by_time(
    model: Model,
    params: Params,
    images: np.ndarray,
    mesh: Mesh,
    cells: int = 50,
    looks: int = 1,
    seed: int = 0,
    batch_size: int = 128,
    on_batch: Callable[[float], None] = lambda share: None,
) -> ByTime:
    """The loss by time of every image.

    The noise of a value comes from (seed, the image's place in `images`, cell, look) alone, so no value
    depends on the batch size or the devices, and models of one seed are compared under common noise.

    Args:
      images: uint8 [N, H, W, C] of a split, all of it and in its order.
      cells: number of equal parts of t in [0, 1).
      looks: draws of a time and a noise, an image and cell.
      batch_size: rounded up to a multiple of the devices.
      on_batch: told the share of the work that is done.
    """
    size = sharding.round_up(mesh, batch_size)
    estimate = jax.jit(partial(_estimate, model, seed, cells), out_shardings=sharding.replicated(mesh))
    values = np.empty((3, looks, len(images), cells))
    total = math.ceil(len(images) / size) * looks * cells

    def started():
        for batch in eval_batches(images, size):
            pixels, indices = (sharding.to_devices(mesh, a) for a in (batch.images, batch.indices))
            for look, cell in product(range(looks), range(cells)):
                got = estimate(params, pixels, indices, np.int32(cell), np.int32(look))
                yield batch.indices[: batch.valid], look, cell, got

    for done, (rows, look, cell, got) in enumerate(sharding.in_flight(started()), start=1):
        values[:, look, rows, cell] = np.asarray(got)[:, : len(rows)]
        on_batch(done / total)
    return ByTime(*_places(model, params, cells), *values)


def draw_noise(
    seed: int, cells: int, shape: tuple[int, ...], indices: jax.Array, cell: jax.Array, look: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """t [B] uniform in `cell`, and ε [B, *shape], of look number `look` at the images of `indices` [B]."""

    def one(index):
        key = jax.random.fold_in(stream(seed, "loss by time"), index)
        key_t, key_eps = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, cell), look))
        return (cell + uniform(key_t)) / cells, gaussian(key_eps, shape)

    return jax.vmap(one)(indices)


def _estimate(model: Model, seed: int, cells: int, params: Params, pixels, indices, cell, look) -> jax.Array:
    """[3, B]: diffusion, velocity and residual of `ByTime`."""
    t, eps = draw_noise(seed, cells, pixels.shape[1:], indices, cell, look)
    at, x = model.instant(params, t), decoder.pixel_values(pixels, model.spec.levels)
    errors = losses.continuous_errors(model.encoder(params), model.predict_v(params), x, at.gamma_t, eps)
    return jnp.stack([losses.continuous_from(*errors, at), *(sum_dims(jnp.square(error)) for error in errors)])


def _places(model: Model, params: Params, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """t and γ of the cells' centres, and γ of their edges."""
    t = np.arange(2 * cells + 1) / (2 * cells)  # edges and centres by turns
    gamma = np.asarray(model.gamma(params)(jnp.asarray(t, jnp.float32)), np.float64)
    return t[1::2], gamma[1::2], gamma[::2]
