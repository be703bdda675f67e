"""A derivative head that is trained on a frozen run: it approaches the best prediction."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from diffenc_jax.diffusion.encoders import Trainable
from diffenc_jax.lab.studies import encoder_price as price
from diffenc_jax.lab.studies.encoder_effects import measure_by_gamma
from diffenc_jax.lab.studies.encoder_price import with_head
from diffenc_jax.nets.network import ScoreNetwork
from diffenc_jax.runs.base import BaseRun
from tests import stored_runs, tiny
from tests.lab.studies.runs import Affine

STEPS = 300


class Pixelwise(ScoreNetwork):
    """A score network that returns 0, and a derivative head that is a small network of each pixel and the time."""

    @nn.compact
    def __call__(self, z, time, dropout_key=None, with_heads=False):
        self.param("unused", nn.initializers.ones, (1,))
        heads = {}
        if self.extra_heads and (with_heads or self.is_initializing()):
            heads["derivative"] = Head(name="derivative")(z, time)
        return (jnp.zeros_like(z), heads) if with_heads else jnp.zeros_like(z)


class Head(nn.Module):
    @nn.compact
    def __call__(self, z, time):
        h = jnp.concatenate([z, jnp.broadcast_to(time[:, None, None, None], z.shape)], axis=-1)
        for _ in range(2):
            h = nn.swish(nn.Dense(32)(h))
        return nn.Dense(1)(h)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on independent, nearly Gaussian pixels whose encoder network gives y = 0, and so x_t = α² x."""
    folder = tmp_path_factory.mktemp("head")
    pixels = np.random.RandomState(0).normal(8, 3, (300, 4, 4, 1)).round().clip(0, 16).astype(np.uint8)
    np.savez(folder / "images.npz", train=pixels[:200], test=pixels[200:])
    changes = {"data__source": str(folder / "images.npz"), "train__batch_size": 64, "eval__batch_size": 100}
    run = BaseRun.load(tiny.config("diffenc", **changes))
    model = dataclasses.replace(run.model, score=Pixelwise(), encoder=Trainable(Affine()))
    return stored_runs.trained(run.changed(model=model), tiny.drawn(model, scale=0.0), folder)


@pytest.fixture(scope="module")
def trained(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(price, "LEARNING_RATE", 1e-2)  # at which few steps are enough
        return with_head(run, STEPS)


def test_a_trained_head_approaches_the_best_prediction(run, trained):
    """For Gaussian pixels and x_t = α² x it is linear; a constant has the rate without its denominator."""
    effects = measure_by_gamma(trained, 14)
    variance = np.square(2 / tiny.LEVELS) * run.dataset.split("test").data.var(axis=0).sum()
    alpha2, snr = 1 / (1 + np.exp(effects.gamma)), np.exp(-effects.gamma)
    constant = 0.5 * snr * np.square(alpha2 * (1 - alpha2)) * variance
    best = constant / (1 + snr * alpha2**2 * variance / 16)
    rates = effects.price.mean(axis=0), best, constant
    head, best, constant = (np.trapezoid(rate, effects.gamma) for rate in rates)
    assert best < 0.75 * constant
    assert 0.95 * best < head < best + 0.25 * (constant - best)


def test_all_else_is_frozen(run, trained):
    score = {name: leaf for name, leaf in trained.params["score"].items() if name != "derivative"}
    assert jax.tree.all(jax.tree.map(np.array_equal, trained.params | {"score": score}, run.params))


def test_no_head_is_trained_where_none_is_needed(run, trained):
    assert with_head(run, 0) is run
    assert with_head(trained, 5) is trained
