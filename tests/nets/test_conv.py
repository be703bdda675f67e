"""Convolutions and pooling against flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.conv import Conv, ImageConv, Unpool
from diffenc_jax.nets.kernels.convolution import sum_taps
from diffenc_jax.nets.unet import max_pool
from tests import tiny

X = np.random.RandomState(0).normal(size=(2, 6, 4, 3)).astype(np.float32)


def test_convolution_is_that_of_flax():
    ours, theirs = Conv(7, Compute(jnp.bfloat16)), nn.Conv(7, (3, 3), dtype=jnp.bfloat16)
    params, others = jax.jit(lambda key: (ours.init(key, X), theirs.init(key, X)))(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, params, others)
    params = tiny.away_from_zero(params)
    np.testing.assert_array_equal(*jax.jit(lambda: (ours.apply(params, X).sum(), theirs.apply(params, X)))())


def test_output_layer_is_a_convolution_on_every_platform():
    ours, theirs = ImageConv(2, Compute()), nn.Conv(2, (3, 3))
    params = tiny.drawn(theirs, X, scale=0.3)
    kernel, bias = params["params"]["kernel"], params["params"]["bias"]
    values = jax.jit(lambda: (theirs.apply(params, X), ours.apply(params, X), bias + sum_taps(X, kernel)))()
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], atol=1e-6)


def test_pooling_is_that_of_flax():
    """A maximum, and a transposed convolution."""
    np.testing.assert_array_equal(jax.jit(max_pool)(X), nn.max_pool(X, (2, 2), (2, 2)))
    nets = Unpool(5, Compute()), nn.ConvTranspose(5, (2, 2), (2, 2))
    ours, theirs = jax.jit(lambda key: [net.init(key, X) for net in nets])(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    params = tiny.away_from_zero(ours)
    features, image = jax.jit(lambda: [net.apply(params, X) for net in nets])()
    np.testing.assert_allclose(features.sum(), image, atol=1e-6)
