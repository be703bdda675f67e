"""Every platform's forms of the operations against those of CPUs, in whole networks."""

import jax.numpy as jnp
import pytest

from diffenc_jax.nets.compute import Compute
from tests.nets.test_score_networks import TIME, UNET, assert_computed_alike

CPU = Compute(platform="cpu")


def test_gpus_have_the_values_and_gradients_of_cpus():
    net = UNET.clone(fourier_bins=())
    assert_computed_alike(net, Compute(platform="gpu"), CPU, f=lambda apply: jnp.sum(jnp.sin(apply(TIME))))


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("levels", [0, 2])
def test_derivatives_in_time_have_equal_gradients(platform, levels):
    assert_computed_alike(UNET.clone(layers=2, levels=levels, fourier_bins=()), Compute(platform=platform), CPU)
