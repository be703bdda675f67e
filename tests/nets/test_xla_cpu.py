"""Workarounds for XLA's CPU compiler against what they stand for, in values and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets import conv, xla_cpu
from diffenc_jax.nets.conv import convolve, multiply

SHAPES = [(2, 6, 4, 3, 5), (1, 1, 1, 1, 2), (3, 5, 5, 4, 1)]


def plain_convolution(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


PAIRS = [(convolve, plain_convolution, (3, 3)), (multiply, jnp.matmul, ())]


def draw(b, h, w, c, d, taps=(3, 3)):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(b, h, w, c), (*taps, c, d), (b, h, w, c), (b, h, w, d)]
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize(("ours", "plain", "taps"), PAIRS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_by_kernels_are_those_of_jax(shape, ours, plain, taps):
    """Gradients of the output and of its derivative along a direction, which an encoder's loss needs."""
    x, kernel, x_dot, weight = draw(*shape, taps)

    def loss(f, x, kernel):
        y, y_dot = jax.jvp(lambda x: f(x, kernel), (x,), (x_dot,))
        return jnp.sum(weight * jnp.sin(y) * (1.0 + y_dot))

    values = [jax.jit(jax.value_and_grad(lambda x, k, f=f: loss(f, x, k), (0, 1)))(x, kernel) for f in (ours, plain)]
    (value, found), (expected_value, expected) = values
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(("name", "taps"), [("convolution_gradient", (3, 3)), ("product_gradient", ())])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_by_kernels_of_both_platforms_are_float32_and_equal(shape, name, taps):
    x, _, _, y_bar = (a.astype(jnp.bfloat16) for a in draw(*shape, taps))
    ours, theirs = (jax.jit(getattr(module, name))(x, y_bar) for module in (conv, xla_cpu))
    assert ours.dtype == theirs.dtype == jnp.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_unstacked_trees_are_slices_with_their_gradients():
    tree = {"a": jnp.arange(12.0).reshape(3, 4) - 5.0, "b": jnp.asarray([2.0, -1.0, 0.5])}
    weights = [0.3, -2.0, 5.0]

    def loss(split, tree):
        slices = split(tree)
        return sum(w * (jnp.sin(part["a"]).sum() + part["b"] ** 3) for w, part in zip(weights, slices, strict=True))

    def indexed(tree):
        return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(3)]

    unstacked = jax.jit(lambda tree: xla_cpu.unstack(tree, 3))
    jax.tree.map(np.testing.assert_array_equal, unstacked(tree), indexed(tree))
    found, expected = (jax.jit(jax.grad(lambda tree, f=f: loss(f, tree)))(tree) for f in (unstacked, indexed))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
