"""The terms at the ends of the path: what an encoder wins there, and what a better prior p(z_1) wins without one.

The latent term is E KL(q(z_1 | x) ‖ N(0, I)) = I(x; z_1) + KL(q(z_1) ‖ N(0, I)). Where I(x; z_1) is smaller the
diffusion term is larger by as much, so an encoder can win only the second part. A Gaussian p(z_1) in place of N(0, I),
with the mean and the variance of z_1 per pixel over training images, lowers the latent term by
KL(q(z_1) ‖ N(0, I)) - KL(q(z_1) ‖ p(z_1)): the second part, but for what the fit leaves of it.
"""

from functools import partial, reduce
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.arrays import Images, PerExample, Scalar
from diffenc_jax.diffusion.gaussian import sum_dims
from diffenc_jax.diffusion.losses import latent
from diffenc_jax.lab.studies.encoder.study import TRAINED
from diffenc_jax.lab.studies.sweep import split_images, sweep
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.runs.records import read_values
from diffenc_jax.runs.trained import Trained

# The paths whose ends are compared: the trained encoder's, and x_t = x, by the names of their bounds.
PATHS = (TRAINED, "identity")


class Ends(NamedTuple):
    """Terms at the ends of a path, nats per example [N].

    Attributes:
      reconstruction: the mean over the passes of the path's bound.
      latent: KL(q(z_1 | x) ‖ N(0, I)).
      fitted: KL(q(z_1 | x) ‖ p(z_1)), where p(z_1) is fitted per pixel.
    """

    reconstruction: np.ndarray
    latent: np.ndarray
    fitted: np.ndarray

    @property
    def cost(self) -> np.ndarray:
        """The reconstruction term and the part of the latent term that can be won, as far as p(z_1) shows it."""
        return self.reconstruction + self.latent - self.fitted


def fitted_latent(x_1: Images, gamma_1: Scalar, mean: jax.Array, variance: jax.Array) -> PerExample:
    """KL(q(z_1 | x) ‖ p(z_1)) [B], nats per example, for x_1 of this mean and variance per pixel.

    With p(z_1) = N(α_1 mean, α_1² variance + σ_1²) it is

      ½ Σ [ln(1 + variance e^(-γ_1)) + ((x_1 - mean)² - variance) / (variance + e^(γ_1))].
    """
    excess = (jnp.square(x_1 - mean) - variance) / (variance + jnp.exp(gamma_1))
    return 0.5 * sum_dims(jnp.log1p(variance * jnp.exp(-gamma_1)) + excess)


def measure_ends(run: Trained, records: dict[str, Path]) -> dict[str, Ends]:
    """The terms at the ends of both `PATHS`, for all images of the split.

    Args:
      run: has the training images as well.
      records: of both paths, by name of the bound.
    """
    sums = (np.asarray(part, np.float64) for _, _, part in sweep(run, [()], partial(_sums, run.model), split=TRAIN))
    moments = reduce(np.add, sums) / len(run.dataset.splits[TRAIN])
    variance = np.maximum(moments[1] - moments[0] ** 2, 0)
    point, nats = (np.float32(moments[0]), np.float32(variance)), np.empty((len(PATHS), 2, len(split_images(run))))
    for rows, _, part in sweep(run, [point], partial(_nats, run.model)):
        nats[..., rows] = np.asarray(part)[..., : len(rows)]
    reconstruction = [read_values(records[path])["reconstruction"].mean(axis=0) for path in PATHS]
    return {path: Ends(*terms) for path, *terms in zip(PATHS, reconstruction, *nats.swapaxes(0, 1), strict=True)}


def _ends(model: Model, params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """x_1 along both paths, [2, B, H, W, C], and γ_1."""
    process = bind_to(model, params, batch)
    x, gamma_1 = process.pixel_values(batch.pixels), process.endpoints[1]
    return jnp.stack([process.encoder.mean(x, jnp.full(len(x), gamma_1)), x]), gamma_1


def _sums(model: Model, params: Params, batch: Batch, indices, valid) -> jax.Array:
    """Sums over the images of x_1 and of its square, [2, 2, H, W, C]: by power, and by path."""
    x_1, _ = _ends(model, params, batch)
    weight = (jnp.arange(len(batch.pixels)) < valid).astype(jnp.float32)
    return jnp.stack([jnp.einsum("pb...,b->p...", power, weight, precision="highest") for power in (x_1, x_1**2)])


def _nats(model: Model, params: Params, batch: Batch, indices, valid, mean, variance) -> jax.Array:
    """'latent' and 'fitted' of `Ends` along both paths, [2, 2, B], for moments [2, H, W, C]."""
    x_1, gamma_1 = _ends(model, params, batch)
    nats = [[latent(x, gamma_1), fitted_latent(x, gamma_1, *fit)] for x, *fit in zip(x_1, mean, variance, strict=True)]
    return jnp.asarray(nats)
