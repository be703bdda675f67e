"""Parts of the U-Net; see test_score_networks.py for the whole."""

import jax
import numpy as np

from diffenc_jax.nets.unet import max_pool


def test_max_pool_takes_the_largest_of_four():
    x = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4, 1)
    pooled = jax.jit(lambda x: max_pool(x))(x)
    np.testing.assert_array_equal(np.asarray(pooled)[0, :, :, 0], [[5, 7], [13, 15]])
