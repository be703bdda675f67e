"""Pixels of N(0, 0.3²) and a model whose score network is their exact denoiser: likelihoods have closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.process import Prediction
from diffenc_jax.evaluation.estimator import Estimator, Pass
from diffenc_jax.model import DataSpec, Model, build
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.base import BaseRun
from tests import tiny

DEVIATION = 0.3
PARAMS = {"schedule": {}, "score": {}}
SHAPE, LEVELS, IMAGES = (1, 2, 1), 32, 120


@dataclasses.dataclass(frozen=True)
class Exact(Model):
    """A model whose score network is the exact denoiser of its encoder's x_t for pixels N(m, 0.3²).

    The mean m is 0, or that of the image's class in `means`, given the class as a one-hot condition.
    """

    means: tuple[float, ...] = ()

    def bind(self, params, dropout_key=None, condition=None):
        process = super().bind(params, None, condition)

        def predict(z, gamma):
            factor = align(process.encoder.mean(jnp.ones_like(gamma), gamma), z)
            mean = align(condition @ jnp.asarray(self.means), z) if self.means else 0.0
            return exact_prediction(z, gamma, factor * mean, factor * DEVIATION)

        return dataclasses.replace(process, predict=predict)


def exact_prediction(z, gamma, mean, deviation):
    """v̂ = (α z - x̂) / σ with x̂ = E[x_t | z] for x_t ~ N(mean, deviation²)."""
    a2, s2 = (align(jax.nn.sigmoid(sign * gamma), z) for sign in (-1, 1))
    a = jnp.sqrt(a2)
    x_hat = mean + deviation**2 * a / (deviation**2 * a2 + s2) * (z - a * mean)
    return Prediction((a * z - x_hat) / jnp.sqrt(s2))


# Pixels of the population: N(0, 0.3²), cut into levels.
VALUES = (2 * np.arange(LEVELS) + 1) / LEVELS - 1
PROBABILITY = np.exp(-0.5 * (VALUES / DEVIATION) ** 2)
PROBABILITY /= PROBABILITY.sum()


def images(count, seed):
    return np.random.RandomState(seed).choice(LEVELS, (count, *SHAPE), p=PROBABILITY).astype(np.uint8)


def run_with(**changes):
    """The exact model and images of the population, with a configuration."""
    config = tiny.config("vdm", data__pixel_levels=LEVELS, eval__batch_size=IMAGES, fit__images=20, **changes)
    model = Exact(**vars(build(config, DataSpec(SHAPE, LEVELS))))
    dataset = tiny.dataset({"train": images(20, 1), "test": images(IMAGES, 2)}, "gaussian", spec=model.spec)
    return BaseRun(config, make_mesh(), dataset, model)


def make(**changes):
    """The estimator of a configuration."""
    return Estimator.of(run_with(**changes))


def evaluate(estimator, pixels, tables):
    """Values [passes, images] by name."""
    given, passes = (PARAMS, tables, Batch(pixels), np.arange(len(pixels))), map(np.int32, range(estimator.passes))
    rows = [estimator.estimate(Pass(*given, number)) for number in passes]
    return {name: np.stack([np.asarray(row[name], np.float64) for row in rows]) for name in rows[0]}
