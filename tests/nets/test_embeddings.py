"""Time embedding and Fourier features against their formulas."""

import jax
import numpy as np

from diffenc_jax.nets.embeddings import fourier_features, sinusoids


def test_time_embedding_against_its_formula():
    time, width = 0.375, 8
    f = 10000.0 ** (-np.arange(4) / 3)
    expected = np.concatenate([np.sin(1000 * time * f), np.cos(1000 * time * f)])
    got = jax.jit(lambda time: sinusoids(time, width)[0])(np.float32([time]))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_fourier_features_keep_a_channels_periods_together():
    z = np.asarray([[[[0.1, -0.3]]]], np.float32)
    periods = (2 * 2 / 4, 1 * 2 / 4)  # 2 bins and 1 bin of 4 pixel levels
    sines = [np.sin(2 * np.pi * v / p) for v in (0.1, -0.3) for p in periods]
    cosines = [np.cos(2 * np.pi * v / p) for v in (0.1, -0.3) for p in periods]
    features = jax.jit(lambda z: fourier_features(z, (2.0, 1.0), bin_width=0.5)[0, 0, 0])(z)
    np.testing.assert_allclose(features, [0.1, -0.3, *sines, *cosines], atol=1e-6)
    np.testing.assert_array_equal(fourier_features(z, (), bin_width=0.5), z)
