"""Every platform's forms of the operations against those of CPUs, in whole networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels.forms import PLATFORMS
from diffenc_jax.nets.unet import UNet
from tests import tiny

SIZES = dict(width=32, layers=2, groups=8, mid_groups=8, out_groups=8, dropout=0.3, fourier_bins=(), pixel_levels=17)
X = np.random.RandomState(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
TIME = np.asarray([0.2, 0.7], np.float32)


@pytest.mark.parametrize("levels", [0, 2])
def test_values_derivatives_and_gradients_are_equal(levels):
    """The derivative in time, and gradients of both by the parameters, under dropout."""
    net = UNet(**SIZES, levels=levels)
    params = tiny.parameters(net, X, TIME)

    def value_and_gradient(platform):
        one = net.clone(compute=Compute(platform=platform))

        def loss(params):
            f = lambda t: one.apply(params, X, t, jax.random.key(0))  # noqa: E731
            out, slope = jax.jvp(f, (TIME,), (jnp.ones_like(TIME),))
            return jnp.sum(jnp.sin(out)) + jnp.sum(slope**2) * 1e-3

        return jax.jit(jax.value_and_grad(loss))(params)

    expected, expected_gradient = value_and_gradient("cpu")
    scale = max(float(np.abs(g).max()) for g in jax.tree.leaves(expected_gradient))
    for platform in PLATFORMS.keys() - {"cpu"}:
        value, gradient = value_and_gradient(platform)
        assert float(value) == pytest.approx(float(expected), rel=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * scale), gradient, expected_gradient)
