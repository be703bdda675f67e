"""The best linear prediction of dx_t/dγ from z_γ, and the best constant one, fitted on training images.

With u = z_γ / α_t = x_t + e^(γ/2) ε and slope = (dx_t/dγ) / σ_t² the best linear prediction is

  ŝ = E slope + A (u - E x_t),  A = Cov(slope, x_t) (Cov(x_t) + e^γ I)^-1.

For Gaussian data and a linear encoder it is E[slope | z_γ]. Otherwise it is what a Gaussian fit of the data predicts.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.arrays import Images, PerExample, Scalar
from diffenc_jax.lab.studies.encoder.batches import batches
from diffenc_jax.lab.studies.encoder.price import slope_rate
from diffenc_jax.lab.studies.sweep import OnPart, split_images
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.parallel.sharding import replicated
from diffenc_jax.runs.trained import Trained

# The linear prediction needs matrices [dimensions, dimensions]; there is none for larger images.
MOST_DIMS = 2**14
# Most training images that the predictions are fitted on.
MOST_IMAGES = 50_000
HIGHEST = jax.lax.Precision.HIGHEST


class Moments(NamedTuple):
    """Moments of x_t and the slope at one γ over images of D dimensions.

    Attributes:
      count: [] number of images.
      x_t, slope: [D] means.
      squares: [D, D] sum of (x_t - mean) (x_t - mean)^T.
      products: [D, D] sum of (slope - mean) (x_t - mean)^T.
    """

    count: Scalar
    x_t: jax.Array
    slope: jax.Array
    squares: jax.Array
    products: jax.Array

    @classmethod
    def empty(cls, dims: int) -> "Moments":
        """The moments of no images."""
        means, sums = jnp.zeros(dims), jnp.zeros((dims, dims))
        return cls(jnp.zeros(()), means, means, sums, sums)

    @classmethod
    def of(cls, x_t: Images, slope: Images, weight: PerExample) -> "Moments":
        """The moments of a batch, of the images whose weight is 1 instead of 0; at least one."""
        x_t, slope = (images.reshape(len(weight), -1) for images in (x_t, slope))
        count = weight.sum()
        means = [jnp.matmul(weight, images, precision=HIGHEST) / count for images in (x_t, slope)]
        x_t, slope = (images - mean for images, mean in zip((x_t, slope), means, strict=True))
        sums = [jnp.matmul((weight[:, None] * images).T, x_t, precision=HIGHEST) for images in (x_t, slope)]
        return cls(count, *means, *sums)

    def plus(self, other: "Moments") -> "Moments":
        """The moments of the images of both, summed about their common means, so that no digits cancel."""
        count = self.count + other.count
        x_t, slope, share = other.x_t - self.x_t, other.slope - self.slope, other.count / count
        return Moments(
            count,
            self.x_t + share * x_t,
            self.slope + share * slope,
            self.squares + other.squares + self.count * share * jnp.outer(x_t, x_t),
            self.products + other.products + self.count * share * jnp.outer(slope, x_t),
        )


class Linear(NamedTuple):
    """The linear prediction ŝ = slope + A (u - x_t) of D dimensions at one γ.

    Attributes:
      x_t, slope: [D] means over training images.
      matrix: [D, D] A.
    """

    x_t: jax.Array
    slope: jax.Array
    matrix: jax.Array

    @classmethod
    def best(cls, moments: Moments, gamma: float) -> "Linear":
        """The prediction with the least squared error; A is computed in float64."""
        squares, products = (np.asarray(sums, np.float64) / float(moments.count) for sums in moments[-2:])
        matrix = np.linalg.solve(squares + math.exp(gamma) * np.eye(len(squares)), products.T).T
        return cls(moments.x_t, moments.slope, jnp.asarray(matrix, jnp.float32))

    def rates(self, x_t: Images, slope: Images, gamma: PerExample) -> tuple[PerExample, PerExample]:
        """The rates [B] of this prediction and of the constant `slope`, given x_t and the slope [B, ...].

        The first is the mean over the noise of z_γ: E ‖slope - ŝ‖² = ‖slope - E ŝ‖² + e^γ ‖A‖².
        """
        x_t, slope = (images.reshape(len(gamma), -1) for images in (x_t, slope))
        constant = slope - self.slope
        error = constant - jnp.matmul(x_t - self.x_t, self.matrix.T, precision=HIGHEST)
        noise = 0.5 * jnp.square(jax.nn.sigmoid(gamma)) * jnp.sum(jnp.square(self.matrix))
        return slope_rate(gamma, error) + noise, slope_rate(gamma, constant)


def measure_linear_rates(run: Trained, gamma: np.ndarray, on_part: OnPart = lambda part: None) -> dict[str, np.ndarray]:
    """The rates [N, G] of the 'linear' and the 'constant' prediction, for all images of the split, at `gamma` [G].

    Args:
      run: has the training images as well.
    """
    images, train = split_images(run), run.dataset.splits[TRAIN]
    fitted_on = np.linspace(0, len(train) - 1, min(len(train), MOST_IMAGES)).round().astype(int)
    add = jax.jit(partial(_add, run.model), out_shardings=replicated(run.mesh))
    rates_of = jax.jit(partial(_rates, run.model), out_shardings=replicated(run.mesh))
    found = np.empty((2, len(images), len(gamma)))
    for g, value in enumerate(map(np.float32, gamma)):
        moments = Moments.empty(run.model.spec.dims)
        for part in batches(run, TRAIN, fitted_on):
            moments = jax.block_until_ready(add(run.params, moments, part.batch, part.weight, value))
        linear = Linear.best(moments, float(value))
        for part in batches(run, run.config.eval.split):
            rates = np.asarray(rates_of(run.params, linear, part.batch, value))
            found[:, part.rows, g] = rates[:, : len(part.rows)]
        on_part(1 / len(gamma))
    return dict(zip(("linear", "constant"), found, strict=True))


def _add(model: Model, params: Params, moments: Moments, batch: Batch, weight, gamma) -> Moments:
    return moments.plus(Moments.of(*_encoding(model, params, batch, gamma), weight))


def _rates(model: Model, params: Params, linear: Linear, batch: Batch, gamma) -> jax.Array:
    return jnp.stack(linear.rates(*_encoding(model, params, batch, gamma), jnp.full(len(batch.pixels), gamma)))


def _encoding(model: Model, params: Params, batch: Batch, gamma) -> tuple[jax.Array, jax.Array]:
    """x_t and the slope."""
    process, pixels = bind_to(model, params, batch), batch.pixels
    encoding = process.encoder.mean_and_slope(process.pixel_values(pixels), jnp.full(len(pixels), gamma))
    return encoding.x_t, encoding.drift
