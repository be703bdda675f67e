"""Convolutions and dense layers against flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.nets.conv import Conv, ImageConv, sum_taps
from tests import tiny

X = jax.random.normal(jax.random.key(0), (2, 6, 4, 3))


def test_convolution_is_that_of_flax():
    ours, theirs = Conv(7, jnp.bfloat16), nn.Conv(7, (3, 3), dtype=jnp.bfloat16)
    params = ours.init(jax.random.key(1), X)
    jax.tree.map(np.testing.assert_array_equal, params, theirs.init(jax.random.key(1), X))
    params["params"]["bias"] += 0.5
    np.testing.assert_array_equal(ours.apply(params, X), theirs.apply(params, X))


def test_output_layer_is_a_convolution_on_every_platform():
    ours, theirs = ImageConv(2), nn.Conv(2, (3, 3))
    params = tiny.away_from_zero(theirs.init(jax.random.key(1), X))
    expected = theirs.apply(params, X)
    np.testing.assert_allclose(ours.apply(params, X), expected, atol=1e-6)
    kernel, bias = params["params"]["kernel"], params["params"]["bias"]
    np.testing.assert_allclose(bias + sum_taps(X, kernel), expected, atol=1e-6)
