"""The price of an encoder's drift: what the bound of a Markov model pays, at infinite depth, for a moving mean x_t.

With exact denoisers the bound along any path q(z_t | x) = N(α_t x_t, σ_t² I) exceeds the entropy of the data by two
terms at the ends of the path and by

  ∫ ½ e^(-γ) E tr Cov(dx_t/dγ | z_γ) dγ  nats per example.

The trace is the least squared error with which dx_t/dγ can be predicted from z_γ, so every predictor gives the price
from above. With slope = (dx_t/dγ) / σ_t² and its prediction ŝ(z_γ) the rate per unit of γ is

  ½ e^(-γ) σ_t⁴ ‖slope - ŝ‖² = ½ α_t² σ_t² ‖slope - ŝ‖².
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.streams import gaussian_each, stream
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.arrays import Images, PerExample
from diffenc_jax.diffusion.gaussian import diffuse, sum_dims
from diffenc_jax.diffusion.process import Process
from diffenc_jax.lab.studies.sweep import OnPart, split_images, sweep
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.runs.trained import Trained


def slope_rate(gamma: PerExample, error: Images) -> PerExample:
    """½ α_t² σ_t² ‖error‖² [B], the price per unit of γ in nats per example, of errors slope - ŝ [B, ...]."""
    return 0.5 * jax.nn.sigmoid(-gamma) * jax.nn.sigmoid(gamma) * sum_dims(jnp.square(error))


def model_rate(process: Process, x: Images, gamma: PerExample, eps: Images) -> PerExample:
    """The rate [B] of the model's own estimate of the slope, at z_γ = α_t x_t + σ_t ε."""
    x_t, slope, *_ = process.encoder.mean_and_slope(x, gamma)
    estimate = process.estimate(diffuse(x_t, gamma, eps)[0], gamma)
    return slope_rate(gamma, slope - process.slope(estimate, gamma))


def measure_model_rates(
    run: Trained, gamma: np.ndarray, seed: int = 0, on_part: OnPart = lambda part: None
) -> np.ndarray:
    """The rates [N, G] of the model's estimate of the slope, for all images of the split, at `gamma` [G].

    There is one draw of z_γ per image and γ. Its noise depends only on (seed, position of the image in the split,
    number of the γ), so no value depends on the batch size or the devices.
    """
    rates = np.empty((len(split_images(run)), len(gamma)))
    points = [(np.float32(value), np.int32(g)) for g, value in enumerate(gamma)]
    for rows, (_, g), batch in sweep(run, points, partial(_model_rates, run.model, seed), on_part):
        rates[rows, g] = np.asarray(batch)[: len(rows)]
    return rates


def _model_rates(model: Model, seed: int, params: Params, batch: Batch, indices, valid, gamma, number) -> jax.Array:
    process = bind_to(model, params, batch)
    x = process.pixel_values(batch.pixels)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(seed, "price of the drift"), indices)
    return model_rate(process, x, jnp.full(len(x), gamma), gaussian_each(keys, number, x.shape[1:]))
