"""Products and convolutions with the forms of their gradients, and unstacking, against JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.kernels import convolution, stacking

SHAPES = [(2, 6, 4, 3, 5), (1, 1, 1, 1, 2)]


def plain_convolution(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


PAIRS = [(convolution.convolve_on_cpu, plain_convolution, (3, 3)), (convolution.multiply_on_cpu, jnp.matmul, ())]


def draw(b, h, w, c, d, taps=(3, 3)):
    rng = np.random.RandomState(0)
    shapes = [(b, h, w, c), (*taps, c, d), (b, h, w, c), (b, h, w, d)]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize(("ours", "plain", "taps"), PAIRS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_by_kernels_are_those_of_jax(shape, ours, plain, taps):
    """Gradients of the output and of its derivative along a direction, which an encoder's loss needs."""
    x, kernel, x_dot, weight = draw(*shape, taps)

    def loss(f, x, kernel):
        y, y_dot = jax.jvp(lambda x: f(x, kernel), (x,), (x_dot,))
        return jnp.sum(weight * jnp.sin(y) * (1.0 + y_dot))

    derive = lambda f: jax.value_and_grad(lambda x, kernel: loss(f, x, kernel), (0, 1))(x, kernel)  # noqa: E731
    found, expected = jax.tree.map(np.asarray, jax.jit(lambda: (derive(ours), derive(plain)))())
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_by_kernels_of_bfloat16_are_summed_in_float32(shape):
    x, _, _, y_bar = (a.astype(jnp.bfloat16) for a in draw(*shape))
    kernel = jnp.zeros((3, 3, shape[3], shape[4]))
    exact = jax.vjp(lambda k: plain_convolution(x.astype(jnp.float32), k), kernel)[1](y_bar.astype(jnp.float32))[0]
    found = convolution.gradient_by_kernel(x, y_bar)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)


def test_unstacked_trees_are_slices_with_their_gradients():
    tree = {"a": np.arange(12.0, dtype=np.float32).reshape(3, 4) - 5.0, "b": np.asarray([2.0, -1.0, 0.5], np.float32)}
    weights = [0.3, -2.0, 5.0]

    def loss(split, tree):
        slices = split(tree)
        return sum(w * (jnp.sin(part["a"]).sum() + part["b"] ** 3) for w, part in zip(weights, slices, strict=True))

    def indexed(tree):
        return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(3)]

    unstacked = lambda tree: stacking.unstack(tree, 3, stacking.barrier)  # noqa: E731
    both = [(f, jax.grad(lambda tree, f=f: loss(f, tree))) for f in (unstacked, indexed)]
    (parts, found), (slices, expected) = jax.jit(lambda tree: [(f(tree), slope(tree)) for f, slope in both])(tree)
    jax.tree.map(np.testing.assert_array_equal, parts, slices)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
