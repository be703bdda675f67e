"""Pixels of N(m, 0.3²), m of the population or the image's class, with their exact denoisers as score networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from diffenc_jax.config.recipe import code_network
from diffenc_jax.data.images import Batch, LabelSpec
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


# Means of the classes, of which the last two are the same.
MEANS = np.array([-0.3, 0.0, 0.25, 0.25], np.float32)


def draw_classes(count, seed):
    """Pixels and labels of `count` images."""
    rng = np.random.RandomState(seed)
    labels = rng.randint(0, len(MEANS), count)
    probability = np.exp(-0.5 * ((VALUES - MEANS[:, None]) / DEVIATION) ** 2)
    probability /= probability.sum(axis=1, keepdims=True)
    pixels = [rng.choice(LEVELS, SHAPE, p=probability[label]) for label in labels]
    return np.stack(pixels).astype(np.uint8), labels.astype(np.int32)


class NearestMean(nn.Module):
    """A network of codes: the logits prefer the class whose mean is nearest to the image's."""

    @nn.compact
    def __call__(self, x, dropout_key=None):
        return -jnp.square(x.mean(axis=(1, 2, 3))[:, None] - MEANS)


def run_of_classes(count=150, labels=True, **changes):
    """The exact model and images of the classes, with a configuration."""
    changes = {"data__pixel_levels": LEVELS, "eval__batch_size": 64, "fit__images": 20, **changes}
    config = tiny.config("vdm", True, model__labels=labels, **changes)
    model = Exact(**vars(build(config, DataSpec(SHAPE, LEVELS, LabelSpec(len(MEANS))))), means=tuple(MEANS.tolist()))
    splits = {"train": draw_classes(20, 1), "test": draw_classes(count, 2)}
    images, classes = ({split: pair[i] for split, pair in splits.items()} for i in (0, 1))
    dataset = tiny.dataset(images, "gaussian classes", classes, model.spec)
    return BaseRun(config, make_mesh(), dataset, model)


def coded_run(count=150, **changes):
    """A run with a code that says the class, and with a schedule per pixel of the code; and the parameters.

    Of the classes with the same mean, the first one is chosen.
    """
    code = code_network(units=len(MEANS), active=1, width=32, layers=1, levels=0, **tiny.NORMS)
    chosen = run_of_classes(count, labels=False, model__schedule__kind="polynomial", model__code=code, **changes)
    schedule = tiny.away_from_zero(jax.jit(lambda key: chosen.model.init(key)["schedule"])(jax.random.key(0)))
    coded = dataclasses.replace(chosen.model.code, network=NearestMean())
    model = dataclasses.replace(chosen.model, code=coded)
    return chosen.changed(model=model), {"score": {}, "code": {}, "schedule": schedule}


def log_densities(pixels):
    """log N(x; m_c, 0.3²) [N, K] of pixels [N, ...], up to a constant."""
    x = VALUES[pixels].reshape(len(pixels), -1, 1)
    return -0.5 * np.sum(((x - MEANS) / DEVIATION) ** 2, axis=1)
