"""The 3x3 convolutions of the U-Net, by whatever is fast on the platform."""

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


@jax.custom_jvp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[B, H, W, C] by [3, 3, C, D] -> [B, H, W, D], zeros around.

    The gradient by the kernel is Σ x(p + tap) ȳ(p) over the pixels p of all images. XLA's CPU compiler makes of it a
    convolution by a window of a whole image, which takes twice the time of a product for each of the nine taps.
    """
    return _convolve(x, kernel)


def _convolve(x, kernel, precision=None):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout, precision=precision)


def _derivative(primals, tangents):
    (x, kernel), (x_dot, kernel_dot) = primals, tangents
    terms = [] if type(x_dot) is SymbolicZero else [convolve(x_dot, kernel)]
    if type(kernel_dot) is not SymbolicZero:
        terms.append(linear_call(_convolve, _by_kernel, x, kernel_dot))
    return convolve(x, kernel), sum(terms)


convolve.defjvp(_derivative, symbolic_zeros=True)


def _by_kernel(x, y_bar):
    return jax.lax.platform_dependent(x, y_bar, cpu=_as_products, default=_as_convolution)


def _as_convolution(x, y_bar):
    kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], y_bar.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _convolve(x, kernel), kernel)(y_bar)[0]


def _as_products(x, y_bar):
    """In a loop, so that it is compiled once."""
    channels = x.shape[-1]
    padded, y_bar = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), y_bar.reshape(-1, y_bar.shape[-1])

    def of_tap(tap):
        seen = jax.lax.dynamic_slice(padded, (0, tap // 3, tap % 3, 0), x.shape).reshape(-1, channels)
        return jax.lax.dot_general(seen, y_bar, (((0,), (0,)), ((), ())))

    return jax.lax.map(of_tap, jnp.arange(9)).reshape(3, 3, channels, -1)


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
