"""Attention by kernels, run by Pallas's interpreter, against its formula."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.kernels import flash
from tests.nets.kernels.test_attention import formula

ALL = (0, 1, 2)  # query, key and value
attend = flash.flash_attention


def random(shape, dtype=jnp.float32):
    """Query, key, value and a cotangent."""
    return tuple(jnp.asarray(x, dtype) for x in np.random.RandomState(0).normal(size=(4, *shape)))


def assert_close(values, rtol, atol):
    got, expected = jax.jit(lambda: (values(attend), values(formula)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), got, expected)


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 133, 20)])
def test_it_is_the_formula_with_its_gradient(shape):
    """With 133 positions one program has 128, in steps of 64, and one 5; a block has 32 channels, of which 20 count."""
    *inputs, out_bar = random(shape)

    def values(f):
        out, transpose = jax.vjp(f, *inputs)
        return out, transpose(out_bar)

    assert_close(values, 1e-4, 1e-5)


def test_it_has_derivatives_of_second_order():
    """Reverse over forward in a checkpointed layer, as in training, and forward and reverse over reverse."""
    *inputs, out_bar = random((2, 3, 4))
    tangents = tuple(jnp.cos(3 * x) for x in inputs)

    def values(f):
        f = jax.checkpoint(f)
        loss = lambda *inputs: jnp.sum(out_bar * f(*inputs) ** 2)  # noqa: E731
        slope = lambda *inputs: jnp.sum(out_bar * jax.jvp(f, inputs, tangents)[1] ** 2)  # noqa: E731
        by_key = jax.grad(loss, 1)
        return (
            jax.value_and_grad(slope, ALL)(*inputs),
            jax.jvp(jax.grad(loss, ALL), tuple(inputs), tangents),
            jax.grad(lambda *inputs: jnp.sum(out_bar * by_key(*inputs)), ALL)(*inputs),
        )

    assert_close(values, 1e-4, 1e-5)


def test_products_of_bfloat16_are_summed_in_float32():
    *inputs, out_bar = random((1, 40, 16), jnp.bfloat16)
    out, transpose = jax.vjp(attend, *inputs)
    exact, exactly = jax.vjp(formula, *(x.astype(jnp.float32) for x in inputs))
    pairs = zip([out, *transpose(out_bar)], [exact, *exactly(out_bar.astype(jnp.float32))], strict=True)
    for got, expected in pairs:
        assert got.dtype == jnp.bfloat16
        assert np.linalg.norm(got - expected) < 0.01 * np.linalg.norm(expected)


def test_great_scores_stay_finite():
    query, key, value, out_bar = random((1, 5, 4))
    out, transpose = jax.vjp(attend, 1e3 * query, 1e3 * key, value)
    assert np.isfinite(out).all()
    assert all(np.isfinite(bar).all() for bar in transpose(out_bar))


PROGRAM = """
import jax
import numpy as np
from diffenc_jax.nets.kernels import gpu_programs
from tests.nets.kernels.test_flash import attend, random

gpu_programs.INTERPRET = True

def values(query, key, value, out_bar):
    out, transpose = jax.vjp(attend, query, key, value)
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


def test_batches_stay_sharded():
    """Also where the results are wanted otherwise."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env={**os.environ, "XLA_FLAGS": flags})


@pytest.mark.parametrize(
    ("count", "channels", "dtype", "supported"),
    [
        (49, 20, jnp.float32, True),
        (1024, 512, jnp.bfloat16, True),
        (1024, 512, jnp.float32, False),
        (1024, 128, jnp.float64, False),
        (4, 128, jnp.float32, False),
    ],
)
def test_what_is_supported(count, channels, dtype, supported):
    assert flash.supports(count, channels, dtype) is supported
