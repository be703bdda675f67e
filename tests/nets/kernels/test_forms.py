"""Every platform's forms of the operations against those of CPUs, in whole networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.unet import UNet
from tests import tiny

SIZES = dict(width=32, groups=8, mid_groups=8, out_groups=8, dropout=0.3, fourier_bins=(), pixel_levels=17)
X = np.random.RandomState(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
TIME = np.asarray([0.2, 0.7], np.float32)


def assert_equal_to_cpu(platform, net, f):
    """Values and gradients by the parameters of f(network as a function of its parameters and the time)."""
    params = tiny.parameters(net, X, TIME)

    def value_and_gradient(platform):
        compute = Compute(platform=platform)
        apply, key = net.clone(compute=compute).apply, jax.random.key(0)
        return jax.jit(jax.value_and_grad(lambda params: f(lambda t: apply(params, X, t, key))))(params)

    (value, gradient), (expected, expected_gradient) = map(value_and_gradient, (platform, "cpu"))
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    scale = max(float(np.abs(g).max()) for g in jax.tree.leaves(expected_gradient))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * scale), gradient, expected_gradient)


def test_gpus_have_the_values_and_gradients_of_cpus():
    assert_equal_to_cpu("gpu", UNet(**SIZES, layers=1, levels=0), lambda f: jnp.sum(jnp.sin(f(TIME))))


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("levels", [0, 2])
def test_derivatives_in_time_have_equal_gradients(platform, levels):
    def f(apply):
        out, slope = jax.jvp(apply, (TIME,), (jnp.ones_like(TIME),))
        return jnp.sum(jnp.sin(out)) + jnp.sum(slope**2) * 1e-3

    assert_equal_to_cpu(platform, UNet(**SIZES, layers=2, levels=levels), f)
