"""Attention, convolutions and norms, whose derivatives are hand-written or restricted, against formulas and XLA's."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.kernels import attention, convolution, norm, stacking, triton_norm
from diffenc_jax.nets.kernels.dropout import Mask
from tests.nets.kernels.attention_formula import formula, kernel_of, random

ALL = (0, 1, 2)  # query, key and value


def assert_close(f, values):
    got, expected = jax.jit(lambda: (values(f), values(formula)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)


def test_great_scores_stay_finite():
    query, key, value, _ = random((2, 5, 4))
    great = jax.value_and_grad(lambda query: attention.attend(query, 1e3 * key, value).sum())
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

    assert_close(partial(attention.attend, scan=scan), values)


@pytest.mark.parametrize(("count", "supported"), [(3, True), (4, False)])
def test_kernels_have_derivatives_of_second_order(monkeypatch, count, supported):
    """Reverse over forward in a checkpointed layer, as in training; forward and reverse over reverse; maps of these."""
    *inputs, out_bar = random((2, count, 4))
    tangents = tuple(jnp.cos(3 * x) for x in inputs)
    if supported:
        monkeypatch.setattr(attention, "_kernel", kernel_of)

    def values(f):
        f = jax.checkpoint(f)
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

    assert_close(attention.on_gpu, values)


SHAPES = [(2, 6, 4, 3, 5), (1, 1, 1, 1, 2)]


def plain_convolution(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def on_torus(x, kernel):
    """Each tap of its own: an image of which the rows and columns are moved."""
    taps = itertools.product(range(3), range(3))
    return sum(jnp.roll(x, (1 - i, 1 - j), (1, 2)) @ kernel[i, j] for i, j in taps)


PAIRS = [
    (convolution.convolve_on_cpu, plain_convolution, (3, 3)),
    (partial(convolution.convolve_on_cpu, periodic=True), on_torus, (3, 3)),
    (partial(convolution.convolve, periodic=True), on_torus, (3, 3)),
    (convolution.multiply_on_cpu, jnp.matmul, ()),
]


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


def random_like(like, seed=0):
    rng = np.random.RandomState(seed)
    return jax.tree.map(lambda a: np.asarray(rng.normal(size=a.shape) + 0.5, a.dtype), like)


def dot(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


class Case:
    """Features of some widths and parameters, and a norm as a function of both."""

    def __init__(self, side, widths, group, offset, masked, keep):
        channels = sum(widths)
        parts = tuple(np.zeros((2, side, side, width), np.float32) for width in widths)
        numbers = [np.zeros(shape, np.float32) for shape in ((2, channels), channels, channels)]
        self.inputs = random_like((parts, norm.Params(numbers[0] if offset else None, *numbers[1:])))
        self.options = norm.Options(channels // group, jnp.float32, swish=True, rate=0.25 * masked, keep=keep)
        masks = np.random.RandomState(1).randint(0, 256, size=(1, 2, side, side, channels)).astype(np.uint8)
        self.mask = Mask(masks, jnp.int32(0), jnp.uint8(3)) if masked else None

    def agree(self, values):
        """`values` of the kernel and of XLA, as functions of the inputs, are equal."""
        forms = triton_norm.normalize, norm.on_cpu
        functions = [lambda inputs, form=form: form(self.options, *inputs, self.mask) for form in forms]
        got, expected = jax.jit(lambda: [values(f, self.inputs) for f in functions])()
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5 * (1 + np.abs(b).max()))


def first_order(f, inputs):
    """Values, their derivative and their gradient."""
    values, dots = f(inputs), random_like(inputs, 1)
    weights = random_like(values, 2)
    return values, jax.jvp(f, (inputs,), (dots,))[1], jax.grad(lambda inputs: dot(weights, f(inputs)))(inputs)


def second_order(f, inputs):
    """Gradient of a derivative, as of an encoder's; derivative of a derivative; gradient of a gradient."""
    dots, weights = random_like(inputs, 1), random_like(f(inputs), 2)

    def slope(inputs, dots):
        return jax.jvp(f, (inputs,), (dots,))[1]

    def by_gradient(inputs):
        return dot(dots, jax.grad(lambda inputs: dot(weights, f(inputs)))(inputs))

    return (
        jax.grad(lambda *inputs: dot(weights, slope(*inputs)), (0, 1))(inputs, dots),
        jax.jvp(lambda inputs: slope(inputs, dots), (inputs,), (dots,)),
        jax.grad(by_gradient)(inputs),
    )


def mapped(f, inputs):
    """Values and derivatives under `jax.vmap`."""
    scales, dots = np.arange(3, dtype=np.float32), random_like(inputs, 1)
    by_scale = lambda scale: f(jax.tree.map(lambda a: a * scale, inputs))  # noqa: E731
    slopes = lambda scale: jax.jvp(f, (inputs,), (jax.tree.map(lambda a: a * scale, dots),))[1]  # noqa: E731
    return jax.vmap(by_scale)(scales), jax.vmap(slopes)(scales)


@pytest.mark.parametrize("values", [first_order, second_order, mapped])
def test_a_shifted_norm_with_dropout(values):
    Case(side=8, widths=(16,), group=4, offset=True, masked=True, keep=False).agree(values)


@pytest.mark.parametrize("values", [first_order, second_order])
def test_the_norm_of_joined_features_and_these(values):
    """Blocks of 32 channels, of 49 positions each, in one part or the other."""
    Case(side=7, widths=(32, 64), group=4, offset=False, masked=False, keep=True).agree(values)


def test_groups_that_a_kernel_cannot_have():
    Case(side=2, widths=(12,), group=3, offset=False, masked=False, keep=True).agree(first_order)
