"""The shipped configurations: every arm builds, and the published recipe has the published size."""

import functools

import jax
import pytest

from diffenc_jax.config import load_config
from diffenc_jax.data.dataset import image_shape
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.runs.workdir import default_workdir
from tests import shipped


def shapes_of(config):
    """Shapes of the parameters; equal models of several configurations are traced once, and their layers as a loop."""
    config = config.replace({"model.scan": True})
    return traced(build(config, ImageSpec(image_shape(config.data), config.data.pixel_levels)))


@functools.cache
def traced(model):
    return jax.eval_shape(model.init, jax.random.key(0))


@pytest.mark.parametrize(("name", "arms"), shipped.ARMS.items())
def test_every_arm_builds(name, arms):
    """Shapes alone are computed, for the data of each configuration; its docstring opens with its command."""
    assert f"--config=configs/{name}.py\n" in shipped.load(name).__doc__
    for arm in arms:
        config = load_config(f"{name}:{arm}")
        assert str(default_workdir(config, config)) == f"runs/{config.name}-{arm}-seed0"
        assert ("encoder" in shapes_of(config)) == arm.startswith("diffenc")


def test_the_cifar10_recipe_is_the_published_one():
    """33.3 M parameters: 30.6 M of the score network, and 2.7 M of the encoder."""
    config = load_config("cifar10:diffenc")
    count = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in shapes_of(config).items()}
    assert count == {"score": 30_578_179, "encoder": 2_744_131, "schedule": 0}
    assert (config.train.batch_size, config.train.learning_rate, config.train.ema_decay) == (128, 2e-4, 0.9999)
    assert (config.train.steps, config.train.warmup_steps, config.train.weight_decay) == (8_000_000, 100, 0.01)
