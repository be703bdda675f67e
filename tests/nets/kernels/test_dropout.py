"""Dropout: its rate, its mean, and that masks are the same however they are drawn."""

import jax
import numpy as np
import pytest

from diffenc_jax.nets.kernels.dropout import draw_bytes, draw_masks, dropout

KEY = jax.random.key(0)
SHAPES = [(4, 8, 8, 6), (4, 4, 4, 10), (4, 2, 2, 2)]


def kept(rate, shapes, key=KEY):
    draw = jax.jit(lambda key: [mask.kept() for mask in draw_masks(key, rate, shapes)])
    return list(map(np.asarray, draw(key)))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_rate_and_the_mean(rate):
    x = np.ones((4, 64, 64, 16), np.float32)
    y = np.asarray(jax.jit(lambda x: dropout(x, rate, *draw_masks(KEY, rate, [x.shape])))(x))
    deviation = np.sqrt(rate * (1 - rate) / y.size)
    assert abs((y == 0).mean() - rate) < 4 * deviation
    assert abs(y.mean() - 1) < 4 * deviation / (1 - rate)
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - round(rate * 2**16) / 2**16)], rtol=1e-6)


def test_masks_of_blocks_images_and_places_are_independent():
    """Masks from one call of the generator, from two calls, and from two groups of bytes."""
    masks = np.stack(kept(0.5, [(32, 16, 16, 8)] * 9)).reshape(9, 32, -1)
    deviation = 4.5 * np.sqrt(0.25 * 0.75 / masks[0].size)
    for other in masks[1:]:
        assert abs((masks[0] & other).mean() - 0.25) < deviation
    for part, moved in [(masks[0, :-1], masks[0, 1:]), (masks[0, :, :-1], masks[0, :, 1:])]:
        assert abs((part & moved).mean() - 0.25) < deviation


def test_masks_do_not_depend_on_how_axes_are_divided():
    """Arrays of one size per image, whose axes are divided in one way or another."""
    shapes = [SHAPES[1], *SHAPES[:1] * 9]
    pairs = [(b, h, w // 2, 2 * c) for b, h, w, c in shapes]

    @jax.jit
    def drawn(key):
        masks = [[mask.kept() for mask in draw_masks(key, 0.3, way)] for way in (shapes, pairs)]
        return masks, [draw_bytes(jax.random.split(key), 0.3, shape) for shape in ((4, 384), SHAPES[0])]

    masks, (flat, square) = drawn(KEY)
    for whole, paired in zip(*masks, strict=True):
        np.testing.assert_array_equal(whole, np.asarray(paired).reshape(whole.shape))
    np.testing.assert_array_equal(np.asarray(flat).reshape(SHAPES[0]), square)


def test_without_a_key_or_a_rate_nothing_is_dropped():
    x = np.ones(SHAPES[0])
    assert dropout(x, 0.5, None) is x
    assert draw_masks(None, 0.5, SHAPES) == draw_masks(KEY, 0.0, SHAPES) == [None] * 3
