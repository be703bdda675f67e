"""Attention against its formula, in values and derivatives, by XLA and by a stand-in for the kernels of cuDNN."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.kernels import attention
from diffenc_jax.nets.kernels.attention import attend, on_gpu
from tests.nets.kernels.attention_formula import formula, kernel_of, random
from tests.processes import python

ALL = (0, 1, 2)  # query, key and value


def assert_close(f, values):
    got, expected = jax.jit(lambda: (values(f), values(formula)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)


def test_great_scores_stay_finite():
    query, key, value, _ = random((2, 5, 4))
    great = jax.value_and_grad(lambda query: attend(query, 1e3 * key, value).sum())
    mixed, gradient = map(np.asarray, jax.jit(great)(1e3 * query))
    assert np.isfinite(mixed)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("most", [8, 16])
def test_it_is_the_formula_with_its_derivatives(monkeypatch, scan, most):
    """Four queries are taken 2 or 4 at a time."""
    monkeypatch.setattr(attention, "MAX_SCORES", most)
    *inputs, _ = random((2, 4, 3))
    tangents = tuple(jnp.cos(3 * x) for x in inputs)

    def values(f):
        slope = lambda *inputs: jnp.sum(jax.jvp(f, inputs, tangents)[1] ** 2)  # noqa: E731
        return f(*inputs), slope(*inputs), jax.grad(slope, ALL)(*inputs)

    assert_close(partial(attend, scan=scan), values)


@pytest.mark.parametrize("supported", [True, False])
def test_kernels_have_derivatives_of_second_order(monkeypatch, supported):
    """Reverse over forward in a checkpointed layer, as in training; forward and reverse over reverse; maps of these."""
    *inputs, out_bar = random((2, 3, 4))
    tangents = tuple(jnp.cos(3 * x) for x in inputs)
    if supported:
        monkeypatch.setattr(attention, "_kernel", kernel_of)

    def values(f):
        f = jax.checkpoint(lambda *inputs, f=f: f(*inputs))  # a new function, which JAX has not traced
        loss = lambda *inputs: jnp.sum(out_bar * f(*inputs) ** 2)  # noqa: E731
        slope = lambda *inputs: jnp.sum(out_bar * jax.jvp(f, inputs, tangents)[1] ** 2)  # noqa: E731
        by_key = jax.grad(loss, 1)
        scaled = lambda scale: jax.vjp(f, *inputs)[1](scale * out_bar)  # noqa: E731
        scales = jnp.arange(1.0, 4.0)
        return (
            jax.value_and_grad(loss, ALL)(*inputs),
            jax.value_and_grad(slope, ALL)(*inputs),
            jax.jvp(jax.grad(loss, ALL), tuple(inputs), tangents),
            jax.grad(lambda *inputs: jnp.sum(out_bar * by_key(*inputs)), ALL)(*inputs),
            jax.vmap(scaled)(scales),
            jax.vmap(lambda scale: f(scale * inputs[0], *inputs[1:]))(scales),
        )

    assert_close(on_gpu, values)


SHARDED = """
import jax
import numpy as np
from diffenc_jax.nets.kernels import attention
from tests.nets.kernels.attention_formula import kernel_of, random

attention._kernel = kernel_of

def values(query, key, value, out_bar):
    out, transpose = jax.vjp(attention.on_gpu, query, key, value)
    return out, *transpose(out_bar)

arrays = random((8, 6, 4))
expected = jax.jit(values)(*arrays)
mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
axes = [("data", "fsdp")], [None, None, "fsdp"]
by_image, by_channel = (jax.sharding.NamedSharding(mesh, jax.P(*each)) for each in axes)
for wanted, sharding in ((None, by_image), (by_channel, by_channel)):
    results = jax.jit(values, out_shardings=wanted)(*jax.device_put(arrays, by_image))
    for got, whole in zip(results, expected, strict=True):
        assert got.sharding.is_equivalent_to(sharding, 3), got.sharding
        np.testing.assert_allclose(got, whole, rtol=1e-5, atol=1e-6)
"""


def test_kernels_keep_batches_sharded():
    """Also where the results are wanted otherwise."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    python("-c", SHARDED, XLA_FLAGS=flags)
