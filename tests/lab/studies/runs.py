"""Runs for studies: written to a workdir without training, or made of formulas instead of networks."""

import functools
import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.data.dataset import Dataset
from diffenc_jax.diffusion.encoders import Identity, NonTrainable
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.schedules import FixedLinear
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.runs.trained import Trained
from tests import tiny

CLASSES = 3


def write_run(folder, source, arm="vdm", shape=(4, 4, 1), **changes):
    """A workdir with one checkpoint for images of `shape`, whose parameters are away from zero; returns `folder`."""
    # The density that times are drawn from by default takes two more programs.
    changes = {"data__source": str(source), "eval__time_sampling": "uniform", **changes}
    config = tiny.config(arm, small=True, **changes)
    spec = ImageSpec(shape, tiny.LEVELS, CLASSES)
    params = drawn(build(config, spec), config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    StoredRun(folder).write(config)
    with Checkpoints(StoredRun(folder), keep_every_steps=1) as checkpoints:
        checkpoints.save_ema(1, params)
    return folder


def drawn(model, seed=0, scale=0.1):
    """Parameters of a model, drawn from N(0, scale²) without compiling its initialisation."""
    rng = np.random.RandomState(seed)
    draws = jax.tree.map(lambda leaf: np.float32(rng.normal(scale=scale, size=leaf.shape)), shapes_of(model))
    return jax.device_put(draws)


@functools.cache
def shapes_of(model):
    """Shapes of a model's parameters, traced once for all its runs."""
    return jax.eval_shape(model.init, jax.random.key(0))


def write_images(path, count=13, seed=1, shape=(4, 4, 1)):
    """A data set of 20 training and `count` test images of `CLASSES` classes; returns `path`."""
    labels = {f"y_{split}": np.arange(number) % CLASSES for split, number in (("train", 20), ("test", count))}
    np.savez(path, train=tiny.images(20, shape), test=tiny.images(count, shape, seed), **labels)
    return path


def change(path, **changes):
    """Change entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


class FormulaModel(NamedTuple):
    """A model without parameters."""

    spec: ImageSpec
    process: Process

    @property
    def estimates_slope(self):
        return self.process.encoder.has_slope

    def condition(self, params, batch, dropout_key=None):
        return None

    def bind(self, params, dropout_key=None, condition=None):
        return self.process


def formula_model(encoder, velocity, gamma_ends, shape=(4, 4, 1), pixel_levels=tiny.LEVELS, schedule=FixedLinear):
    """A model whose score network is velocity(z, γ)."""
    gamma = lambda t: schedule(*gamma_ends).apply({}, t)  # noqa: E731
    process = Process(encoder, lambda z, g: Prediction(velocity(z, g)), gamma, pixel_levels=pixel_levels)
    return FormulaModel(ImageSpec(shape, pixel_levels), process)


def opened(model, images, batch_size=8):
    """A run with this model without parameters, opened in memory, which evaluates on `images`."""
    dataset = Dataset("made up", "1", model.spec.pixel_levels, {"test": images})
    return trained(Experiment(tiny.config(eval__batch_size=batch_size), dataset, make_mesh(), model), {})


def trained(experiment, params, workdir=None):
    """A run with this experiment, opened in memory after a step."""
    return Trained(**vars(experiment), stored=StoredRun(workdir), step=1, steps=[1], params=params)


class DoubledIdentity(Identity):
    """The identity of 2 x: pixels of two levels, ±½, become ±1, whose square is that of N(0, 1) on average."""

    def mean_and_slope(self, x, gamma):
        return super().mean_and_slope(2.0 * x, gamma)


class DoubledNonTrainable(NonTrainable):
    """x_t = α_t² (2 x)."""

    def mean_and_slope(self, x, gamma):
        return super().mean_and_slope(2.0 * x, gamma)


def nontrainable_errors(gamma):
    """E of (v - v̂)² and of the squared residual per dimension, for x_t = α² x with data N(0, 1).

    E(v - v̂)² = Var[x_t | z] / σ² = α⁴ / (α⁶ + σ²), and the residual is σ (x̂ - x_t).
    """
    alpha2, sigma2 = 1 / (1 + np.exp(gamma)), 1 / (1 + np.exp(-gamma))
    velocity = alpha2**2 / (alpha2**3 + sigma2)
    return velocity, sigma2**2 * velocity


def binary_images(count, shape=(4, 4, 1)):
    """uint8 [count, *shape] of two levels."""
    return np.random.RandomState(0).randint(0, 2, (count, *shape)).astype(np.uint8)


def assert_mean(draws, expected, precision):
    """Assert that the mean of independent `draws` [draws, images, ...] is as expected, with a small enough error."""
    error = draws.std(axis=(0, 1)) / np.sqrt(draws.shape[0] * draws.shape[1])
    assert np.all(error <= precision * np.abs(expected))
    assert np.all(np.abs(draws.mean(axis=(0, 1)) - expected) <= 5 * error + 1e-5)


def constant_image(value):
    """A velocity whose x̂ is `value` everywhere: v̂ = (α z - x̂) / σ."""

    def velocity(z, gamma):
        alpha, sigma = (jnp.sqrt(jax.nn.sigmoid(g))[:, None, None, None] for g in (-gamma, gamma))
        return (alpha * z - value) / sigma

    return velocity
