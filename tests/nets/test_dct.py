"""The network of one gain per frequency: its transform against scipy's, its loss against the closed form."""

import jax
import numpy as np
import pytest
import scipy.fft

from diffenc_jax.nets.dct import FrequencyGains, dct
from tests import tiny

SHAPE = (2, 3, 2)
NET = FrequencyGains(8)
PIXELS = (1, 2)  # the axes of the transform


def theirs(x):
    return scipy.fft.dctn(x, axes=PIXELS, norm="ortho")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 8, 3), (1, 28, 28, 1)])
def test_the_transform_is_scipys(x64, shape):
    x = np.random.RandomState(0).normal(size=shape)
    found, again = jax.jit(lambda x: (dct(x), dct(dct(x), inverse=True)))(x)
    np.testing.assert_allclose(found, theirs(x), atol=1e-12)
    np.testing.assert_allclose(again, x, atol=1e-12)


@pytest.fixture
def params(x64):
    return tiny.drawn(NET, np.zeros((1, *SHAPE)), np.zeros(1))


def test_every_frequency_has_its_gain_and_offset(params):
    """Gains and offsets are the same for every image, so the output is affine in it; they depend on the time."""
    time = np.asarray([0.1, 0.1, 0.1, 0.9])
    x = np.random.RandomState(1).normal(size=(4, *SHAPE))
    x[3] = x[2]
    apply = jax.jit(NET.apply)
    offsets = theirs(np.asarray(apply(params, np.zeros_like(x), time)))
    gains = (theirs(np.asarray(apply(params, x, time))) - offsets) / theirs(x)
    for images in (offsets, gains):
        np.testing.assert_allclose(images[:2], images[2:3].repeat(2, axis=0), rtol=1e-8)
        assert np.abs(images[3] - images[2]).min() > 1e-4
        assert len(np.unique(images[0].round(8))) == np.prod(SHAPE)
