"""Times drawn by loss: nothing is biased, the variance falls, and a density follows what was seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.times import antithetic
from diffenc_jax.errors import InputError
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.step import init_and_step
from diffenc_jax.train.times import CELLS, LossByTime
from tests import tiny

BATCH = 64


def nats(t, key):
    """Losses far from flat in t, of mean 1 + 2/3 over noise and uniform times."""
    return (1.0 + 8.0 / 3.0 * t**3) * (1.0 + 0.2 * jax.random.normal(key, t.shape))


@pytest.fixture(scope="module")
def estimates():
    """{whether times are drawn by loss: the estimate of E nats of each of 4,000 steps} and the last density."""

    def step(losses, key):
        key_s, key_eps, key_uniform = jax.random.split(key, 3)
        s = antithetic(jax.random.uniform(key_s), BATCH)
        t, weight = losses.density().at(s)
        seen = nats(t, key_eps)
        return losses.plus(t, seen), (jnp.mean(weight * seen), jnp.mean(nats(s, key_uniform)))

    keys = jax.random.split(jax.random.key(0), 4000)
    losses, (by_loss, uniform) = jax.jit(lambda: jax.lax.scan(step, LossByTime.empty(), keys))()
    return losses, np.asarray(by_loss, np.float64)[200:], np.asarray(uniform, np.float64)[200:]


def test_the_mean_is_that_over_uniform_times(estimates):
    _, by_loss, uniform = estimates
    for values in (by_loss, uniform):
        assert abs(values.mean() - 5 / 3) < 5 * values.std() / np.sqrt(len(values))


def test_the_variance_falls(estimates):
    _, by_loss, uniform = estimates
    assert by_loss.var() < 0.9 * uniform.var()


def test_the_density_follows_the_loss(estimates):
    losses, *_ = estimates
    t = (np.arange(CELLS) + 0.5) / CELLS
    loss = 1 + 8 / 3 * t**3
    np.testing.assert_allclose(losses.density().mass, 0.95 * loss / loss.sum() + 0.05 / CELLS, rtol=0.1)


def test_it_is_uniform_until_every_cell_was_seen():
    losses = LossByTime.empty().plus(jnp.asarray([0.1, 0.9]), jnp.asarray([5.0, 1.0]))
    np.testing.assert_allclose(losses.density().mass, 1 / CELLS, rtol=1e-6)


@pytest.mark.slow
def test_a_step_keeps_what_it_saw_without_weights():
    """And one with a uniform density is the step that has uniform times, but for what it keeps."""
    states = {}
    for sampling in ("uniform", "importance"):
        config = tiny.config("vdm", train__time_sampling=sampling)
        init, step = init_and_step(build(config, ImageSpec((4, 4, 1), tiny.LEVELS)), config)
        states[sampling], report = jax.jit(step)(jax.jit(init)(), jnp.asarray(tiny.images(8)))
    losses, uniform = states["importance"].losses, states["uniform"]
    assert uniform.losses is None
    assert float(losses.examples.sum()) == 8
    assert float(losses.squares.sum()) > 0
    for a, b in zip(*(jax.tree.leaves(states[name].params) for name in states), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert bool(report.finite)


def test_refused():
    with pytest.raises(InputError, match=r"unknown train\.time_sampling 'best'; known: importance, uniform"):
        tiny.settings(tiny.config(train__time_sampling="best"))
    learned = tiny.config("vdm", train__time_sampling="importance", model__schedule__kind="monotone")
    with pytest.raises(InputError, match=r"train\.time_sampling=importance is for a fixed schedule"):
        init_and_step(build(learned, ImageSpec((4, 4, 1), tiny.LEVELS)), learned)
