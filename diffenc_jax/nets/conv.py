"""The U-Net's convolutions of 3x3 pixels and of one, by whatever is fast on the platform."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, linear_call

from diffenc_jax.nets.embeddings import HIGHEST


class Conv(nn.Module):
    """[B, H, W, C] -> [B, H, W, width] with zeros around, in `dtype`."""

    width: int
    dtype: Any
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (3, 3, x.shape[-1], self.width), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        return convolve(x, kernel) + bias


Linear = Callable[[jax.Array, jax.Array], jax.Array]


def gradient_on_cpu(by_kernel: Linear) -> Callable[[Linear], Linear]:
    """Gives f(x, kernel), linear in each, by_kernel(x, ȳ) for its gradient by the kernel on a CPU; elsewhere JAX's."""

    def decorate(f):
        own = jax.custom_jvp(f)

        def derivative(primals, tangents):
            (x, kernel), (x_dot, kernel_dot) = primals, tangents
            shape = jax.ShapeDtypeStruct(kernel.shape, kernel.dtype)

            def transposed(x, y_bar):
                return jax.linear_transpose(partial(f, x), shape)(y_bar)[0]

            def gradient(x, y_bar):
                return jax.lax.platform_dependent(x, y_bar, cpu=by_kernel, default=transposed)

            terms = [] if type(x_dot) is SymbolicZero else [own(x_dot, kernel)]
            if type(kernel_dot) is not SymbolicZero:
                terms.append(linear_call(f, gradient, x, kernel_dot))
            return own(x, kernel), sum(terms)

        own.defjvp(derivative, symbolic_zeros=True)
        return own

    return decorate


def _by_pixel(x, y_bar):
    x, y_bar = (a.reshape(-1, a.shape[-1]) for a in (x, y_bar))
    return jax.lax.dot_general(x, y_bar, (((0,), (0,)), ((), ())))


def _by_tap(x, y_bar):
    """A row of taps at a time, in a loop, so that it is compiled once: of x moved by the row and ȳ by all columns."""
    channels, nought = y_bar.shape[-1], jnp.zeros((), y_bar.dtype)
    rows = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    # Side by side by padding and a sum: XLA makes of it one pass, and of a concatenation four.
    widths = [((0, 0, 0), (0, 0, 0), (i - 1, 1 - i, 0), (i * channels, (2 - i) * channels, 0)) for i in range(3)]
    columns = sum(jax.lax.pad(y_bar, nought, around) for around in widths)

    def of_row(i):
        return _by_pixel(jax.lax.dynamic_slice_in_dim(rows, i, x.shape[1], axis=1), columns)

    return jax.lax.map(of_row, jnp.arange(3)).reshape(3, x.shape[-1], 3, channels).swapaxes(1, 2)


@gradient_on_cpu(_by_tap)
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[B, H, W, C] by [3, 3, C, D] -> [B, H, W, D], zeros around.

    The gradient by the kernel is Σ x(p + tap) ȳ(p) over the pixels p of all images. XLA's CPU compiler makes of it a
    convolution by a window of a whole image, which takes two to four times as long as products do.
    """
    return _convolve(x, kernel)


@gradient_on_cpu(_by_pixel)
def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., C] by [C, D] -> [..., D].

    The gradient by the kernel is Σ x(p) ȳ(p). JAX writes it with ȳ as the first factor, and XLA's CPU compiler then
    makes ȳ a second time, column by column, from whatever it was computed from.
    """
    return x @ kernel


# By `multiply`; a `precision` would have no effect.
Dense = partial(nn.Dense, dot_general=lambda x, kernel, *_, **__: multiply(x, kernel))


def _convolve(x, kernel, precision=None):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout, precision=precision)


class ImageConv(nn.Module):
    """3x3 convolution [B, H, W, C] -> [B, H, W, channels] with zeros around, for few channels, in full float32.

    On accelerators one product gives what a pixel adds to its nine neighbours, which are then summed. As a convolution,
    each of nine taps would fill a TPU's 128 columns with 3 channels, six times over in this precision, and its three
    kernels take the compiler a minute. A CPU's compiler has a convolution ready, and takes seconds for the sum.
    """

    channels: int

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        zeros = nn.initializers.zeros
        kernel = self.param("kernel", zeros, (3, 3, h.shape[-1], self.channels), jnp.float32)
        bias = self.param("bias", zeros, (self.channels,), jnp.float32)
        return bias + jax.lax.platform_dependent(
            h, kernel, cpu=partial(_convolve, precision=HIGHEST), default=_add_taps
        )


def _add_taps(h, kernel):
    by_tap = jnp.einsum("bhwc,ijcd->ijbhwd", h, kernel, precision=HIGHEST)
    by_tap = jnp.pad(by_tap, [(0, 0)] * 3 + [(1, 1)] * 2 + [(0, 0)])
    _, height, width, _ = h.shape
    return sum(by_tap[i, j, :, i : i + height, j : j + width] for i in range(3) for j in range(3))
