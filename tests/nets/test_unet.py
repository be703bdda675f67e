"""Parts of the U-Net; see test_score_networks.py for the whole."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.nets.unet import Unpool, max_pool
from tests import tiny


def test_max_pool_takes_the_largest_of_four():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x, paired=False)[0, :, :, 0], [[5, 7], [13, 15]])


def test_unpool_is_a_transposed_convolution():
    key = jax.random.key(0)
    x = jax.random.normal(key, (2, 4, 4, 3))
    ours, theirs = Unpool(5, jnp.float32), nn.ConvTranspose(5, (2, 2), (2, 2))
    fresh = theirs.init(key, x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(key, x), fresh)
    params = tiny.away_from_zero(fresh)
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), atol=1e-6)
