"""The convolution and the product against XLA's own, and their gradients by another way of computing them."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.conv import Conv, Dense, convolve, multiply

SHAPES = [(2, 6, 4, 3, 5), (1, 1, 1, 1, 2), (3, 5, 5, 4, 1)]


def published(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


PAIRS = [(convolve, published, (3, 3)), (multiply, jnp.matmul, ())]


def draw(b, h, w, c, d, taps=(3, 3)):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(b, h, w, c), (*taps, c, d), (b, h, w, c), (b, h, w, d)]
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize(("own", "xlas", "taps"), PAIRS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_xla(shape, own, xlas, taps):
    """Of the output, and, as the encoder's are, of its derivative along a direction."""
    x, kernel, x_dot, weight = draw(*shape, taps)

    def loss(f, x, kernel):
        y, y_dot = jax.jvp(lambda x: f(x, kernel), (x,), (x_dot,))
        return jnp.sum(weight * jnp.sin(y) * (1.0 + y_dot))

    ours, theirs = (jax.jit(jax.value_and_grad(lambda x, k, f=f: loss(f, x, k), (0, 1))) for f in (own, xlas))
    (value, found), (expected_value, expected) = ours(x, kernel), theirs(x, kernel)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(("own", "xlas", "taps"), PAIRS)
def test_derivative_along_both_arguments(own, xlas, taps):
    x, kernel, x_dot, _ = draw(*SHAPES[0], taps)
    found, expected = (jax.jvp(f, (x, kernel), (x_dot, 2.0 * kernel)) for f in (own, xlas))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


@pytest.mark.parametrize("remat", [False, True])
def test_on_a_cpu_no_convolution_is_left_in_the_gradient_of_a_kernel(remat):
    x, kernel, _, weight = draw(*SHAPES[0])
    f = jax.checkpoint(convolve) if remat else convolve
    lowered = jax.jit(jax.grad(lambda kernel: jnp.sum(weight * f(x, kernel)))).lower(kernel)
    compiled = lowered.compile().as_text()
    assert " convolution(" not in compiled
    assert " while(" in compiled


def test_on_a_cpu_the_gradient_of_a_kernel_needs_no_transposed_cotangent():
    x, kernel, _, weight = draw(8, 16, 16, 64, 32, ())

    def products(layer):
        f = layer(32, use_bias=False).apply
        step = jax.jit(jax.grad(lambda kernel: jnp.sum(jnp.exp(weight * f({"params": {"kernel": kernel}}, x)))))
        return re.findall(r" dot\(.*rhs_contracting_dims=(\{.\})", step.lower(kernel).compile().as_text())

    assert products(Dense)[-1] == "{0}"
    assert products(nn.Dense)[-1] == "{1}"  # else `multiply` is not needed any more


def test_layer_is_that_of_flax():
    x, *_ = draw(*SHAPES[0])
    ours, theirs = Conv(7, jnp.bfloat16), nn.Conv(7, (3, 3), dtype=jnp.bfloat16)
    params = ours.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, params, theirs.init(jax.random.key(1), x))
    params["params"]["bias"] += 0.5
    np.testing.assert_array_equal(ours.apply(params, x), theirs.apply(params, x))
