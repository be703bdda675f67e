"""Dropout: its rate, its mean, and that masks and keys drop the same entries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.dropout import dropout, split_dropout

KEY = jax.random.key(0)
SHAPES = [(4, 8, 8, 6), (4, 4, 4, 10), (4, 2, 2, 2)]


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_rate_and_the_mean(rate):
    x = jnp.ones((4, 64, 64, 16))
    y = np.asarray(dropout(x, rate, KEY))
    deviation = np.sqrt(rate * (1 - rate) / y.size)
    assert abs((y == 0).mean() - rate) < 4 * deviation
    assert abs(y.mean() - 1) < 4 * deviation / (1 - rate)
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - round(rate * 2**16) / 2**16)], rtol=1e-6)


def test_entries_that_share_a_word_are_independent():
    kept = np.asarray(dropout(jnp.ones((64, 32, 32, 2)), 0.5, KEY)) > 0
    both = kept.all(axis=-1).mean()
    assert abs(both - 0.25) < 4 * np.sqrt(0.25 * 0.75 / (64 * 32 * 32))


def test_masks_and_keys_drop_the_same_entries():
    shapes = [*SHAPES, SHAPES[0]]
    keys = split_dropout(KEY, 0.3, shapes, scan=True)
    masks = jax.jit(lambda key: split_dropout(key, 0.3, shapes, scan=False))(KEY)
    for mask, key, shape in zip(masks, keys, shapes, strict=True):
        x = jnp.ones(shape)
        np.testing.assert_array_equal(dropout(x, 0.3, mask), dropout(x, 0.3, key))
    assert 0.4 < (masks[0] == masks[3]).mean() < 0.7  # 0.58 for independent masks


def test_kept_entries_are_scaled_and_have_a_gradient():
    x = jax.random.normal(KEY, SHAPES[0])
    (mask,) = split_dropout(KEY, 0.25, SHAPES[:1], scan=False)
    y, pullback = jax.vjp(lambda x: dropout(x, 0.25, mask), x)
    np.testing.assert_allclose(y, np.where(mask, x / 0.75, 0), rtol=1e-6)
    np.testing.assert_allclose(pullback(jnp.ones_like(x))[0], mask / 0.75, rtol=1e-6)


def test_no_dropout():
    x = jax.random.normal(KEY, SHAPES[0])
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, KEY) is x
    assert split_dropout(None, 0.5, SHAPES, scan=False) == [None] * 3
