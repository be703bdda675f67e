"""Convolutions of 3x3 pixels and of one."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.nets import xla_cpu
from diffenc_jax.nets.embeddings import HIGHEST


class Conv(nn.Module):
    """3x3 convolution [B, H, W, C] -> [B, H, W, width] with zero padding, in `dtype`."""

    width: int
    dtype: Any
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (3, 3, x.shape[-1], self.width), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        return convolve(x, kernel) + bias


class ImageConv(nn.Module):
    """3x3 convolution [B, H, W, C] -> [B, H, W, channels] for few channels, in full float32, zero at initialisation."""

    channels: int

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        zeros = nn.initializers.zeros
        kernel = self.param("kernel", zeros, (3, 3, h.shape[-1], self.channels), jnp.float32)
        bias = self.param("bias", zeros, (self.channels,), jnp.float32)
        # XLA's CPU compiler calls a library for the convolution, and takes seconds to compile the sum.
        return bias + xla_cpu.on_cpu(partial(_convolve, precision=HIGHEST))(sum_taps)(h, kernel)


def _convolve(x, kernel, precision=None):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout, precision=precision)


@xla_cpu.with_kernel_gradient(xla_cpu.convolution_gradient)
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[B, H, W, C] by [3, 3, C, D] -> [B, H, W, D], with zero padding."""
    return _convolve(x, kernel)


@xla_cpu.with_kernel_gradient(xla_cpu.product_gradient)
def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., C] by [C, D] -> [..., D]."""
    return x @ kernel


# A dense layer by `multiply`; its `precision` has no effect.
Dense = partial(nn.Dense, dot_general=lambda x, kernel, *_, **__: multiply(x, kernel))


def sum_taps(h: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolve` for few output channels D, in full float32: one product gives what each pixel adds to 9 neighbours.

    As a convolution, each of nine taps would fill D of a TPU's 128 columns, six times in this precision, and its three
    kernels would take the compiler a minute.
    """
    by_tap = jnp.einsum("bhwc,ijcd->ijbhwd", h, kernel, precision=HIGHEST)
    by_tap = jnp.pad(by_tap, [(0, 0)] * 3 + [(1, 1)] * 2 + [(0, 0)])
    _, height, width, _ = h.shape
    return sum(by_tap[i, j, :, i : i + height, j : j + width] for i in range(3) for j in range(3))
