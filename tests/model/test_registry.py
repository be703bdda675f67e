"""The contract of every network that is listed, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.sections import PartConfig
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError
from diffenc_jax.model.build import build_part
from tests import tiny
from tests.registered import ENCODERS, SCORE_NETWORKS

SHAPE = (4, 6, 2)
SHALLOW = {"transformer": {"layers": 1}}
KEY = jax.random.key(3)
TIME = np.asarray([0.0, 0.3, 1.0], np.float32)


def build_encoder(kind, **changes):
    return build_part("encoder", PartConfig.parse({**tiny.ENCODERS[kind].to_dict(), **changes}, "model"), SHAPE)


def network(kind):
    """The network of an encoder, of one layer if it is a transformer."""
    return build_encoder(kind, **SHALLOW.get(kind, {})).network


@pytest.fixture
def x():
    return np.random.RandomState(0).normal(size=(3, *SHAPE)).astype(np.float32)


def test_every_network_is_covered():
    assert tiny.SCORE_NETWORKS.keys() == SCORE_NETWORKS.keys()
    held = {parts.network_of("encoder", name) for name in ENCODERS}
    assert {parts.network_of("encoder", name) for name in tiny.ENCODERS} == held - {""}


# The U-Net's start is slow to compile. Score networks are the same networks; see tests/nets/test_score_networks.py.
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


REFUSED = [
    ("transformer", {"patch": 4}, "model.encoder.patch=4 does not divide the sides of the images, 4x6"),
    ("transformer", {"patch": 0}, "model.encoder.patch must be at least 1"),
    ("transformer", {"heads": 3}, "model.encoder.heads=3 does not divide the width 8"),
    ("transformer", {"layers": 0}, "model.encoder.layers must be at least 1, not 0"),
    ("transformer", {"dropout": 1.0}, r"model.encoder.dropout must lie in \[0, 1\), not 1.0"),
    ("transformer", {"width": 7}, "model.encoder.width must be even and at least 4, not 7"),
    ("transformer", {"groups": 8}, "model.encoder.kind=transformer has no keys groups; it has patch, width"),
    ("dct", {"width": 2}, "model.encoder.width must be even and at least 4, not 2"),
]


@pytest.mark.parametrize(("kind", "changes", "message"), REFUSED)
def test_networks_that_cannot_be_built_are_refused_in_one_line(kind, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build_encoder(kind, **changes)
    assert "\n" not in str(caught.value)
