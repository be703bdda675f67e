"""Group norms as Triton kernels, run by Pallas's interpreter, against those of XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.nets.kernels import norm, triton_norm
from diffenc_jax.nets.kernels.dropout import Mask
from diffenc_jax.nets.kernels.norm import Options, Params


def random(like, seed=0):
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
        self.inputs = random((parts, Params(numbers[0] if offset else None, *numbers[1:])))
        self.options = Options(channels // group, jnp.float32, swish=True, rate=0.25 * masked, keep=keep)
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
    values, dots = f(inputs), random(inputs, 1)
    weights = random(values, 2)
    return values, jax.jvp(f, (inputs,), (dots,))[1], jax.grad(lambda inputs: dot(weights, f(inputs)))(inputs)


def second_order(f, inputs):
    """Gradient of a derivative, as of an encoder's; derivative of a derivative; gradient of a gradient."""
    dots, weights = random(inputs, 1), random(f(inputs), 2)

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
    scales, dots = np.arange(3, dtype=np.float32), random(inputs, 1)
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
