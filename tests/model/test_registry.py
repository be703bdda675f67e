"""The contract of every network that is listed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.sections import PartConfig
from diffenc_jax.core import parts
from diffenc_jax.model.build import build_part
from tests import tiny
from tests.registered import ENCODERS, SCORE_NETWORKS

SHAPE = (4, 6, 2)
SHALLOW = {"transformer": {"layers": 1}}
KEY = jax.random.key(3)
TIME = np.asarray([0.0, 0.3, 1.0], np.float32)


def network(kind):
    """The network of an encoder, of one layer if it is a transformer."""
    values = {**tiny.ENCODERS[kind].to_dict(), **SHALLOW.get(kind, {})}
    return build_part("encoder", PartConfig.parse(values, "model"), SHAPE).network


@pytest.fixture
def x():
    return np.random.RandomState(0).normal(size=(3, *SHAPE)).astype(np.float32)


def test_every_network_is_covered():
    assert tiny.SCORE_NETWORKS.keys() == SCORE_NETWORKS.keys()
    held = {parts.network_of("encoder", name) for name in ENCODERS}
    assert {parts.network_of("encoder", name) for name in tiny.ENCODERS} == held - {""}


# The U-Net's start is slow to compile. Score networks are the same networks; see tests/nets/test_networks.py.
STARTS = [pytest.param(kind, marks=pytest.mark.slow) if kind == "trainable" else kind for kind in tiny.ENCODERS]


@pytest.mark.parametrize("kind", STARTS)
def test_zero_at_initialisation_and_not_after_a_step(kind, x):
    """Along the gradient the output moves, with the image and with the time."""
    net = network(kind)

    @jax.jit
    def outputs():
        params = net.init(jax.random.key(1), x, TIME)
        says = jax.jit(lambda params: net.apply(params, np.concatenate([x, x, x[::-1]]), np.tile(TIME, 3)))
        fresh, pull = jax.vjp(says, params)
        return fresh, says(jax.tree.map(lambda p, g: p + 1e-3 * g, params, *pull(np.concatenate([x, 0 * x, 0 * x]))))

    fresh, after = map(np.asarray, outputs())
    assert not np.any(fresh)
    assert np.sum(after[:3] * x) > 0.0
    assert not np.allclose(after[:3], after[6:])
    assert not np.allclose(after[0] / after[1], x[0] / x[1])


@pytest.mark.parametrize("kind", STARTS)
def test_value_and_derivative_see_one_mask(kind, x):
    """jax.jvp in the time, under dropout, against differences under the same key, extrapolated to zero."""
    net = network(kind)
    params = tiny.drawn(net, x, TIME)
    steps = np.asarray([0.0, 2e-4, -2e-4, 1e-4, -1e-4], np.float32)

    @jax.jit
    def both():
        says = jax.jit(lambda time: net.apply(params, x, time, KEY))
        return jax.jvp(says, (TIME,), (jnp.ones_like(TIME),)), jax.vmap(lambda h: says(TIME + h))(steps)

    (value, slope), (same, *shifted) = jax.tree.map(np.asarray, both())
    np.testing.assert_allclose(value, same, rtol=1e-4, atol=1e-5)
    coarse, fine = (shifted[0] - shifted[1]) / 4e-4, (shifted[2] - shifted[3]) / 2e-4
    expected = (4 * fine - coarse) / 3
    assert np.linalg.norm(slope - expected) / np.linalg.norm(expected) < 1e-2
