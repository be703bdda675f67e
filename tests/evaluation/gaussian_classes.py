"""Classes of pixels N(m_c, 0.3²), and models whose score network is their exact denoiser given the class."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from diffenc_jax.config.recipe import code_network
from diffenc_jax.data.images import LabelSpec
from diffenc_jax.model import DataSpec, build
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.base import BaseRun
from tests import tiny
from tests.evaluation.gaussian import DEVIATION, LEVELS, SHAPE, VALUES, Exact

# Means of the classes, of which the last two are the same.
MEANS = np.array([-0.3, 0.0, 0.25, 0.25], np.float32)


def draw(count, seed):
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


def run_with(count=150, labels=True, **changes):
    """The exact model and images of the classes, with a configuration."""
    changes = {"data__pixel_levels": LEVELS, "eval__batch_size": 64, "fit__images": 20, **changes}
    config = tiny.config("vdm", True, model__labels=labels, **changes)
    model = Exact(**vars(build(config, DataSpec(SHAPE, LEVELS, LabelSpec(len(MEANS))))), means=tuple(MEANS.tolist()))
    splits = {"train": draw(20, 1), "test": draw(count, 2)}
    images, classes = ({split: pair[i] for split, pair in splits.items()} for i in (0, 1))
    dataset = tiny.dataset(images, "gaussian classes", classes, model.spec)
    return BaseRun(config, make_mesh(), dataset, model)


def coded_run(count=150, **changes):
    """A run with a code that says the class, and with a schedule per pixel of the code; and the parameters.

    Of the classes with the same mean, the first one is chosen.
    """
    code = code_network(units=len(MEANS), active=1, width=32, layers=1, levels=0, **tiny.NORMS)
    chosen = run_with(count, labels=False, model__schedule__kind="polynomial", model__code=code, **changes)
    schedule = tiny.away_from_zero(jax.jit(lambda key: chosen.model.init(key)["schedule"])(jax.random.key(0)))
    coded = dataclasses.replace(chosen.model.code, network=NearestMean())
    model = dataclasses.replace(chosen.model, code=coded)
    return chosen.changed(model=model), {"score": {}, "code": {}, "schedule": schedule}


def log_densities(pixels):
    """log N(x; m_c, 0.3²) [N, K] of pixels [N, ...], up to a constant."""
    x = VALUES[pixels].reshape(len(pixels), -1, 1)
    return -0.5 * np.sum(((x - MEANS) / DEVIATION) ** 2, axis=1)
