"""Attention by kernels, run by Pallas's interpreter, against its formula."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.kernels import flash


def random(shape, dtype=jnp.float32, arrays=3):
    values = np.random.RandomState(0).normal(size=(arrays, *shape))
    return tuple(jnp.asarray(x, dtype) for x in values)


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 19, 24), (1, 130, 20)])
def test_it_is_the_formula_with_its_derivatives(shape):
    *inputs, weights = random(shape, arrays=4)
    tangents = tuple(jnp.cos(3 * x) for x in inputs)

    def values(f):
        dot = lambda *inputs: jnp.sum(weights * f(*inputs))  # noqa: E731
        slope = lambda *inputs: jnp.sum(weights * jax.jvp(f, inputs, tangents)[1])  # noqa: E731
        by_all = (0, 1, 2)
        second = jax.jvp(jax.grad(dot, by_all), tuple(inputs), tangents)
        return f(*inputs), jax.grad(dot, by_all)(*inputs), jax.grad(dot, 1)(*inputs), slope(*inputs), jax.grad(slope, by_all)(*inputs), second

    got, expected = jax.jit(lambda: (values(partial(flash.attend, interpret=True)), values(flash.formula)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), got, expected)
