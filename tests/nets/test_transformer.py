"""The transformer: which patch goes where, and what sees what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.transformer import Transformer, from_patches, to_patches
from tests import tiny
from tests.nets.test_unet import value_and_grad

SHAPE = dict(patch=2, width=8, layers=1, heads=2, dropout=0.0)
TIME = jnp.asarray([0.2, 0.7])
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(KEY, (2, 4, 6, 3))


@pytest.fixture(scope="module")
def params(x):
    return tiny.parameters(Transformer(**SHAPE), x, TIME, 0.3)


@pytest.fixture(scope="module")
def apply():
    return jax.jit(Transformer(**SHAPE).apply)


def test_patches_are_squares_row_by_row(x):
    patches = to_patches(x, 2)
    for row in range(2):
        for column in range(3):
            square = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(patches[:, 3 * row + column], square.reshape(2, -1))
    np.testing.assert_array_equal(from_patches(patches, x.shape, 2), x)


def changed(apply, params, x):
    """Which pixels of the output change, [H, W], when the patch at row 1, column 2 of the input does."""
    other = x.at[:, 2:4, 4:6].add(1.0)
    return np.asarray(jnp.abs(apply(params, x, TIME) - apply(params, other, TIME)).max(axis=(0, 3)) > 1e-6)


def test_without_attention_a_patch_is_for_itself(apply, params, x):
    blocks = params["params"]["blocks"]["blocks"]
    silent = jax.tree.map(jnp.zeros_like, blocks["attention"]["out"])
    blind = blocks | {"attention": blocks["attention"] | {"out": silent}}
    alone = {"params": params["params"] | {"blocks": {"blocks": blind}}}
    itself = np.zeros((4, 6), bool)
    itself[2:4, 4:6] = True
    np.testing.assert_array_equal(changed(apply, alone, x), itself)
    assert changed(apply, params, x).all()


def test_patches_know_where_they_are_by_their_positions_alone(apply, params, x):
    """Patches in another order, their positions with them: the output's patches in that order."""
    order = np.random.RandomState(0).permutation(6)
    shuffled = from_patches(to_patches(x, 2)[:, order], x.shape, 2)
    moved = {"params": params["params"] | {"positions": params["params"]["positions"][order]}}
    out = to_patches(apply(params, x, TIME), 2)
    np.testing.assert_allclose(to_patches(apply(moved, shuffled, TIME), 2), out[:, order], rtol=1e-4, atol=1e-5)
    assert not np.allclose(to_patches(apply(params, shuffled, TIME), 2), out[:, order], atol=1e-2)


def test_one_patch_has_nothing_to_look_at(x):
    """Its attention is over itself: what queries and keys are does not matter."""
    net = Transformer(**SHAPE | {"patch": 1})
    apply, pixel = jax.jit(net.apply), x[:, :1, :1]
    params = tiny.parameters(net, pixel, TIME, 0.3)
    out = apply(params, pixel, TIME)
    attention = params["params"]["blocks"]["blocks"]["attention"]
    attention |= {"query": jax.tree.map(lambda a: -2 * a, attention["query"])}
    np.testing.assert_allclose(apply(params, pixel, TIME), out, rtol=1e-5)
    assert float(jnp.abs(out).max()) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("options", [dict(scan=True, remat="products"), dict(remat="block")], ids=str)
def test_scanned_and_rematerialised_equal_unrolled(x, options):
    """Under dropout; values, derivatives in the time, and gradients."""
    shape = SHAPE | {"layers": 2, "dropout": 0.3}
    plain, other = Transformer(**shape), Transformer(**shape, **options)
    params = tiny.parameters(plain, x, TIME, 0.3)
    expected, expected_grads = value_and_grad(plain, params, x, TIME, KEY)
    got, grads = value_and_grad(other, params, x, TIME, KEY)
    assert float(got) == pytest.approx(float(expected), rel=1e-5)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(expected_grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * scale), grads, expected_grads)


def test_dropout_needs_a_key_and_follows_it(x):
    net = Transformer(**SHAPE | {"dropout": 0.5})
    params = tiny.parameters(net, x, TIME, 0.3)
    apply = jax.jit(net.apply)
    outputs = [apply(params, x, TIME, key) for key in (KEY, KEY, jax.random.key(9))]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.allclose(outputs[0], outputs[2])


def test_bfloat16_stays_near_float32_and_ends_in_it(apply, params, x):
    params = jax.tree.map(lambda p: 0.3 * p, params)
    exact, rounded = (f(params, x, TIME) for f in (apply, jax.jit(Transformer(**SHAPE, dtype=jnp.bfloat16).apply)))
    assert rounded.dtype == jnp.float32
    assert 0 < float(jnp.linalg.norm(rounded - exact) / jnp.linalg.norm(exact)) < 0.03
