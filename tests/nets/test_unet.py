"""Parts of the U-Net; see test_score_networks.py for the whole."""

import flax.linen as nn
import jax
import numpy as np

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.unet import Unpool, max_pool
from tests import tiny


def test_max_pool_takes_the_largest_of_four():
    x = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4, 1)
    pooled = jax.jit(lambda x: max_pool(x))(x)
    np.testing.assert_array_equal(np.asarray(pooled)[0, :, :, 0], [[5, 7], [13, 15]])


def test_unpool_is_a_transposed_convolution():
    x = np.random.RandomState(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    nets = Unpool(5, Compute()), nn.ConvTranspose(5, (2, 2), (2, 2))
    ours, theirs = jax.jit(lambda key: [net.init(key, x) for net in nets])(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    params = tiny.away_from_zero(ours)
    features, image = jax.jit(lambda: [net.apply(params, x) for net in nets])()
    np.testing.assert_allclose(features.sum(), image, atol=1e-6)
