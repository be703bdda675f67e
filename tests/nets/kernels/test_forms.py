"""Every platform's forms of the operations against those of CPUs, in whole networks."""

import sys
import types

import jax
import jax.numpy as jnp
import pytest

from diffenc_jax.nets import compute
from diffenc_jax.nets.kernels import triton_norm
from diffenc_jax.nets.kernels.forms import PLATFORMS, forms_of
from tests import tiny
from tests.nets.contract import KEY, TIME, UNET, X, assert_computed_alike, output_and_slope

CPU = compute.Compute(platform="cpu")


def test_gpus_have_the_values_and_gradients_of_cpus():
    assert forms_of("gpu").normalize == triton_norm.normalize
    net = UNET.clone(fourier_bins=())
    assert_computed_alike(net, compute.Compute(platform="gpu"), CPU, f=lambda apply: jnp.sum(jnp.sin(apply(TIME))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("platform", "kernels", "levels"),
    [
        pytest.param("gpu", True, 0, marks=pytest.mark.long),
        *(("gpu", True, 2), ("gpu", False, 0), ("gpu", False, 2), ("tpu", False, 2)),
    ],
)
def test_derivatives_in_time_have_equal_gradients(monkeypatch, platform, kernels, levels):
    if not kernels:
        monkeypatch.setattr(compute, "forms_of", PLATFORMS.get)
    assert_computed_alike(UNET.clone(layers=2, levels=levels, fourier_bins=()), compute.Compute(platform=platform), CPU)


@pytest.fixture
def without_kernels(monkeypatch):
    """The norm's kernels are not imported yet, and the backend that they import is replaced by a module."""
    monkeypatch.delitem(sys.modules, triton_norm.__name__)
    monkeypatch.delattr(triton_norm.__name__)

    def replace_backend(module):
        monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", module)
        forms_of.cache_clear()

    yield replace_backend
    forms_of.cache_clear()


def lower(name):
    """Lower a loss, with a derivative in time, and its gradient for a platform."""
    params, net = tiny.drawn(UNET, X, TIME), UNET.clone(compute=compute.Compute(platform=name))
    loss = jax.value_and_grad(lambda params: output_and_slope(lambda t: net.apply(params, X, t, KEY)))
    jax.jit(loss).trace(params).lower(lowering_platforms=("cuda" if name == "gpu" else name,))


def test_networks_are_lowered_for_all_platforms_by_a_jax_without_triton_kernels(without_kernels, capsys):
    """There is one warning, where a GPU is compiled for."""
    without_kernels(None)
    for act, name, warnings in ((lower, "cpu", 0), (lower, "tpu", 0), (lower, "gpu", 1), (forms_of, "gpu", 0)):
        act(name)
        assert capsys.readouterr().err.count("Triton") == warnings
    without_kernels(types.ModuleType("triton"))  # all names have changed
    forms_of("gpu")
    assert capsys.readouterr().err.count("Triton") == 1
