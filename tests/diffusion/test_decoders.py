"""The reconstruction against the full sum over bins, in float64."""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.diffusion.decoders import Levels
from tests.diffusion.formulas import full_sum

log_likelihood = jax.jit(Levels.log_likelihood, static_argnums=0)
draw_pixel = jax.jit(Levels.draw, static_argnums=0)


@settings(deadline=None, max_examples=30)
@given(levels=st.sampled_from([2, 17, 256]), scale=st.floats(0.05, 40.0), seed=st.integers(0, 10**6))
def test_window_and_fallback_equal_the_full_sum(levels, scale, seed):
    """From a twentieth of a bin to forty bins of noise, also far outside [-1, 1]."""
    rng = np.random.RandomState(seed)
    gamma_0 = 2 * np.log(scale * 2 / levels)
    pixels = rng.randint(0, levels, (2, 30)).astype(np.uint8)
    u = 2 * (pixels + 0.5) / levels - 1 + np.exp(gamma_0 / 2) * rng.normal(size=pixels.shape)
    with jax.enable_x64(True):
        got = log_likelihood(Levels(levels), u, pixels, gamma_0)
    np.testing.assert_allclose(got, full_sum(u, pixels, gamma_0, levels), rtol=1e-9, atol=1e-12)


@partial(jax.jit, static_argnums=3)
def gradients(u, pixels, gamma_0, levels):
    return jax.grad(lambda u, gamma_0: log_likelihood(Levels(levels), u, pixels, gamma_0)[0], (0, 1))(u, gamma_0)


@pytest.mark.parametrize("scale", [0.166, 0.749, 0.751])
def test_gradients_do_not_see_the_window(x64, scale):
    rng = np.random.RandomState(0)
    gamma_0 = 2 * np.log(scale * 2 / 256)
    pixels = rng.randint(0, 256, (1, 50)).astype(np.uint8)
    u = 2 * (pixels + 0.5) / 256 - 1 + np.exp(gamma_0 / 2) * rng.normal(size=pixels.shape)

    du, dgamma = map(np.asarray, gradients(u, pixels, gamma_0, 256))
    step = 1e-6
    one = np.zeros_like(u)
    one[0, 3] = step
    numeric_u = (full_sum(u + one, pixels, gamma_0, 256) - full_sum(u - one, pixels, gamma_0, 256)) / (2 * step)
    numeric_gamma = (full_sum(u, pixels, gamma_0 + step, 256) - full_sum(u, pixels, gamma_0 - step, 256)) / (2 * step)
    np.testing.assert_allclose(du[0, 3], numeric_u[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dgamma, numeric_gamma[0], rtol=1e-5)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_the_nearest_pixel_undoes_the_pixel_values(levels):
    decoder, pixels = Levels(levels), np.arange(levels, dtype=np.uint8)[None]
    both = jax.jit(lambda pixels, u: (decoder.mode(decoder.values(pixels)), decoder.mode(u)))
    again, ends = both(pixels, np.float32([[-9.0, 9.0]]))
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_array_equal(ends, [[0, levels - 1]])


@pytest.mark.parametrize(("levels", "scale"), [(17, 0.166), (256, 0.7), (17, 3.0), (2, 5.0)])
def test_draws_have_the_softmaxs_frequencies(x64, levels, scale):
    """At evenly spaced shares each pixel is drawn as often as its probability says, but for one draw."""
    count, gamma_0 = 1000, 2 * np.log(scale * 2 / levels)
    u = 2 * (np.asarray([-2.3, 0.0, 1.4, levels / 2 - 0.1, levels + 1.0]) + 0.5) / levels - 1
    share = np.broadcast_to((np.arange(count)[:, None] + 0.5) / count, (count, len(u)))
    drawn = np.asarray(draw_pixel(Levels(levels), np.broadcast_to(u, share.shape), gamma_0, share))
    assert drawn.dtype == np.uint8
    for column, value in enumerate(u):
        k = np.arange(levels, dtype=np.uint8)[:, None]
        expected = count * np.exp(full_sum(np.full((levels, 1), value), k, gamma_0, levels))
        got = np.bincount(drawn[:, column], minlength=levels)
        np.testing.assert_allclose(got, expected, atol=1.001)


def test_the_smallest_share_draws_nothing_improbable():
    """0 comes once in 2^23 draws; at the published noise a neighbour does once in 2^26."""
    u = np.full((1, 3), 2 * 100.5 / 256 - 1, np.float32)
    np.testing.assert_array_equal(draw_pixel(Levels(256), u, np.float32(-13.3), np.zeros_like(u)), [[100] * 3])
