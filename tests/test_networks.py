"""The contract of every encoder that has a network, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.errors import InputError
from diffenc_jax.networks import ENCODERS, build_encoder
from tests import tiny

SHAPE = (4, 6, 2)
KINDS = [kind for kind, entry in ENCODERS.items() if entry.network is not None]
KEY = jax.random.key(3)
TIME = jnp.asarray([0.0, 0.3, 1.0])


def network(kind, shape=SHAPE, **given):
    return build_encoder(tiny.ENCODERS[kind], shape, **given)[1]


@pytest.fixture
def x():
    return jax.random.normal(jax.random.key(0), (3, *SHAPE))


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_network_where_there_is_one(kind):
    entry = ENCODERS[kind]
    assert entry.encoder.needs_network == (entry.network is not None) == (kind in tiny.ENCODERS)


# The U-Net's slowly: tests/nets/test_unet.py looks at its start too.
@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow) if k == "trainable" else k for k in KINDS])
def test_says_nothing_at_initialisation_and_something_after_a_step(kind, x):
    """Zero, but not for ever: along the gradient the output moves, with the image and with the time."""
    net = network(kind)

    @jax.jit
    def outputs():
        params = net.init(jax.random.key(1), x, TIME)
        says = lambda params: net.apply(params, jnp.concatenate([x, x, x[::-1]]), jnp.tile(TIME, 3))  # noqa: E731
        fresh, pull = jax.vjp(says, params)
        return fresh, says(jax.tree.map(lambda p, g: p + 1e-3 * g, params, *pull(jnp.concatenate([x, 0 * x, 0 * x]))))

    fresh, after = outputs()
    assert not np.any(fresh)
    assert float(jnp.sum(after[:3] * x)) > 0.0
    assert not np.allclose(after[:3], after[6:])
    assert not np.allclose(after[0] / after[1], x[0] / x[1])


@pytest.mark.parametrize("kind", KINDS)
def test_value_and_derivative_see_one_mask(kind, x):
    """jax.jvp in the time, under dropout, against differences under the same key, extrapolated to none."""
    net = network(kind)
    params = tiny.parameters(net, x, TIME)
    steps = jnp.asarray([0.0, 2e-4, -2e-4, 1e-4, -1e-4])

    @jax.jit
    def both():
        says = lambda time: net.apply(params, x, time, KEY)  # noqa: E731
        return jax.jvp(says, (TIME,), (jnp.ones_like(TIME),)), jax.vmap(lambda h: says(TIME + h))(steps)

    (value, slope), (same, *shifted) = both()
    np.testing.assert_allclose(value, same, rtol=1e-4, atol=1e-5)
    coarse, fine = (shifted[0] - shifted[1]) / 4e-4, (shifted[2] - shifted[3]) / 2e-4
    expected = (4 * fine - coarse) / 3
    assert float(jnp.linalg.norm(slope - expected) / jnp.linalg.norm(expected)) < 1e-2


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("transformer", {"patch": 4}, "model.encoder.patch=4 does not divide height and width; the images are 4x6"),
        ("transformer", {"patch": 0}, "model.encoder.patch=0 does not divide"),
        ("transformer", {"heads": 3}, "model.encoder.heads=3 does not divide the width 8"),
        ("transformer", {"layers": 0}, "model.encoder.layers must be at least 1, not 0"),
        ("transformer", {"dropout": 1.0}, r"model.encoder.dropout must lie in \[0, 1\), not 1.0"),
        ("transformer", {"width": 7}, "model.encoder.width must be even and at least 4, not 7"),
        (
            "transformer",
            {"groups": 8},
            r"unknown configuration keys \['groups'\] in model.encoder; known: patch, width",
        ),
        ("dct", {"width": 2}, "model.encoder.width must be even and at least 4, not 2"),
        ("dct", {"scan": True}, r"unknown configuration keys \['scan'\] in model.encoder; known: width$"),
    ],
)
def test_refuses_in_one_line(kind, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build_encoder({**tiny.ENCODERS[kind], **changes}, SHAPE)
    assert "\n" not in str(caught.value)


def test_keys_are_the_attributes_without_default():
    """What a network is told besides, such as its dtype, is no key, and goes to those alone that have a use for it."""
    given = {"dtype": jnp.bfloat16, "scan": True, "remat": "block", "pixel_levels": 17}
    for kind in KINDS:
        net = network(kind, **given)
        told = {field.name for field in dataclasses.fields(net)} & set(given)
        assert {name: getattr(net, name) for name in told} == {name: given[name] for name in told}
        assert set(tiny.ENCODERS[kind]) - {"kind"} == {
            field.name for field in dataclasses.fields(net) if field.default is dataclasses.MISSING
        }
