"""Pixels of N(0, 0.3²) and a model whose networks are their exact denoiser: likelihoods have closed forms."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from diffenc_jax.data.dataset import Dataset
from diffenc_jax.diffusion import decoder
from diffenc_jax.estimators import make_estimator
from diffenc_jax.model import ImageSpec, Model, build
from diffenc_jax.train import sharding
from tests import tiny
from tests.diffusion.test_losses import exact_velocity

DEVIATION = 0.3
PARAMS = {"schedule": {}}
SHAPE, LEVELS, IMAGES = (1, 2, 1), 32, 120


@dataclasses.dataclass(frozen=True)
class Gaussian(Model):
    """A model whose networks are the exact denoiser of N(0, 0.3²)."""

    def predict_v(self, params, dropout_key=None):
        scaled = exact_velocity(lambda gamma: DEVIATION * jnp.ones_like(gamma))
        return lambda z, gamma: scaled(z, gamma)


def gaussian_model(config):
    built = build(config, ImageSpec(SHAPE, LEVELS))
    return Gaussian(**{field.name: getattr(built, field.name) for field in dataclasses.fields(Model)})


# Pixels of the population: N(0, 0.3²), cut into levels.
VALUES = np.asarray(decoder.pixel_values(jnp.arange(LEVELS, dtype=jnp.uint8), LEVELS), np.float64)
PROBABILITY = np.exp(-0.5 * (VALUES / DEVIATION) ** 2)
PROBABILITY /= PROBABILITY.sum()


def images(count, seed):
    return np.random.RandomState(seed).choice(LEVELS, (count, *SHAPE), p=PROBABILITY).astype(np.uint8)


def make(**changes):
    """The estimator of a configuration."""
    config = tiny.config("vdm", data__levels=LEVELS, eval__batch_size=IMAGES, fit__images=20, **changes)
    dataset = Dataset("gaussian", "1", LEVELS, {"train": images(20, 1), "test": images(IMAGES, 2)})
    return make_estimator(gaussian_model(config), config, dataset, sharding.make_mesh())


def evaluate(bound, pixels, tables):
    """Values [passes, images] by name."""
    indices = np.arange(len(pixels))
    rows = [bound.estimate(PARAMS, tables, pixels, indices, p) for p in range(bound.passes)]
    return {name: np.stack([np.asarray(row[name], np.float64) for row in rows]) for name in rows[0]}
