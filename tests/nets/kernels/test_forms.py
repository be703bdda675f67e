"""Every platform's forms of the operations against those of CPUs, in whole networks."""

import jax.numpy as jnp
import pytest

from diffenc_jax.nets import compute
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels import triton_norm
from diffenc_jax.nets.kernels.forms import PLATFORMS, forms_of
from tests.nets.contract import TIME, UNET, assert_computed_alike
from tests.processes import python

CPU = Compute(platform="cpu")


def test_gpus_have_the_values_and_gradients_of_cpus():
    assert forms_of("gpu").normalize == triton_norm.normalize
    net = UNET.clone(fourier_bins=())
    assert_computed_alike(net, Compute(platform="gpu"), CPU, f=lambda apply: jnp.sum(jnp.sin(apply(TIME))))


@pytest.mark.slow
@pytest.mark.parametrize(("platform", "kernels"), [("gpu", True), ("gpu", False), ("tpu", False)])
@pytest.mark.parametrize("levels", [0, 2])
def test_derivatives_in_time_have_equal_gradients(monkeypatch, platform, kernels, levels):
    if not kernels:
        monkeypatch.setattr(compute, "forms_of", PLATFORMS.get)
    assert_computed_alike(UNET.clone(layers=2, levels=levels, fourier_bins=()), Compute(platform=platform), CPU)


WITHOUT_TRITON = """
import contextlib, io, sys, types
sys.modules["jax.experimental.pallas.triton"] = None

import jax
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels.forms import forms_of
from tests import tiny
from tests.nets.contract import KEY, TIME, UNET, X, output_and_slope

params = tiny.drawn(UNET, X, TIME)

def lower(platform):
    net = UNET.clone(compute=Compute(platform=platform))
    loss = jax.value_and_grad(lambda params: output_and_slope(lambda t: net.apply(params, X, t, KEY)))
    jax.jit(loss).trace(params).lower(lowering_platforms=("cuda" if platform == "gpu" else platform,))

def warnings(f, platform):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        f(platform)
    print(platform, said.getvalue().count("Triton"))

for platform in ("cpu", "tpu", "gpu"):
    warnings(lower, platform)
warnings(forms_of, "gpu")
sys.modules["jax.experimental.pallas.triton"] = types.ModuleType("triton")  # all names have changed
forms_of.cache_clear()
warnings(forms_of, "gpu")
"""


def test_networks_are_lowered_for_all_platforms_by_a_jax_without_triton_kernels():
    """A loss and its gradient, through a derivative in time; one warning, where a GPU is compiled for."""
    said = python("-c", WITHOUT_TRITON).stdout.splitlines()
    assert said == ["cpu 0", "tpu 0", "gpu 1", "gpu 0", "gpu 1"]
