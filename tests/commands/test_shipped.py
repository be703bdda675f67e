"""The shipped configurations: every arm builds, and the published recipe has the published size."""

import functools

import jax
import numpy as np
import pytest

from diffenc_jax.config import load_config
from diffenc_jax.data.sources import spec_of
from diffenc_jax.model import DataSpec, build
from diffenc_jax.runs.workdir import default_workdir
from tests import shipped

# Shapes of real data by the suffix of an arm.
ARRAYS = {"": (5,), "series": (8, 2), "fields": (8, 4, 1)}


def built(config):
    """The model of a configuration, whose layers are traced as a loop."""
    config = config.replace({"model.scan": True})
    form = config.arm.removesuffix("-few").partition("-")[2]
    return build(config, spec_of(config) if config.data.pixel_levels else DataSpec(ARRAYS[form], None))


@functools.cache
def traced(part, shape=None):
    """Shapes of the parameters of a model, or of a network for images of `shape`, which several arms have."""
    inputs = [np.zeros((1, *shape), np.float32), np.zeros(1, np.float32)] if shape else []
    return jax.eval_shape(part.init, jax.random.key(0), *inputs)


# Their networks have other sizes than those of the others, and the same classes.
ALIKE = ("cifar10_matched", "digits_matched", "mnist", "imagenet32", "synthetic")
NAMES = [pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE)) for name in shipped.ARMS]


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_builds(name):
    """Shapes alone are computed, for the data of each configuration."""
    for arm in shipped.ARMS[name]:
        config = load_config(f"{name}:{arm}")
        assert str(default_workdir(config, config)) == f"runs/{config.name}-{arm}-seed0"
        model = built(config)
        assert bool(model.encoder.network_kind) == arm.startswith("diffenc")
        networks = [model.score, *([model.encoder.network] if model.encoder.network_kind else [])]
        for part in [model] if model.code else networks:  # a code conditions the networks
            traced(part, None if model.code else model.spec.shape)


def test_the_cifar10_recipe_is_the_published_one():
    """33.3 M parameters: 30.6 M of the score network, and 2.7 M of the encoder."""
    config = load_config("cifar10:diffenc")
    shapes = traced(built(config))
    count = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in shapes.items()}
    assert count == {"score": 30_578_179, "encoder": 2_744_131, "schedule": 0}
    assert (config.train.batch_size, config.train.learning_rate, config.train.ema_decay) == (128, 2e-4, 0.9999)
    assert (config.train.steps, config.train.warmup_steps) == (8_000_000, 100)
    adamw = {"kind": "adamw", "b1": 0.9, "b2": 0.99, "epsilon": 1e-8, "weight_decay": 0.01}
    assert config.train.optimizer.to_dict() == adamw
    assert (config.loss.depth, config.model.score.options["fourier_bins"]) == (None, (2.0, 1.0))
