"""Layers of convolutions: of 3x3 pixels, of one pixel, and transposed of 2x2 pixels with stride 2.

For series the windows are 3x1 and 2x1. The special forms of convolutions are only for images.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels import convolution
from diffenc_jax.nets.kernels.features import Features


class _Linear(nn.Module):
    """Base class of the layers: their attributes and parameters."""

    width: int
    compute: Compute
    kernel_init: Callable = nn.initializers.lecun_normal()

    def _params(self, *shape: int) -> tuple[jax.Array, jax.Array]:
        """Kernel [*shape, width] and bias [width]."""
        kernel = self.param("kernel", self.kernel_init, (*shape, self.width), jnp.float32)
        return kernel, self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)


class Conv(_Linear):
    """3x3 convolution [B, H, W, C] -> features [B, H, W, width], in the dtype of `compute`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> Features:
        kernel, bias = self._params(*self.compute.window(3), x.shape[-1])
        form = self.compute.forms.convolve if self.compute.axes == 2 else convolution.convolve
        return Features(form(x.astype(self.compute.dtype), kernel, self.compute.periodic), bias[None])


class Dense(_Linear):
    """Product of features [B, H, W, C] by a matrix, features [B, H, W, width] in the dtype of `compute`."""

    @nn.compact
    def __call__(self, features: Features) -> Features:
        (x, offset), multiply = features, self.compute.forms.multiply
        kernel, bias = self._params(x.shape[-1])
        y = multiply(x.astype(self.compute.dtype), kernel)
        return Features(y, bias[None] if offset is None else bias + multiply(offset, kernel))


class ImageConv(_Linear):
    """3x3 convolution [B, H, W, C] -> [B, H, W, width] for few channels, in full float32, zero at initialisation."""

    kernel_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        kernel, bias = self._params(*self.compute.window(3), h.shape[-1])
        form = self.compute.forms.convolve_to_image if self.compute.axes == 2 else convolution.convolve_to_image
        return bias + form(h, kernel, self.compute.periodic)


class Unpool(_Linear):
    """Transposed 2x2 convolution of stride 2, [B, H, W, C] -> features [B, 2 H, 2 W, width].

    Its windows do not overlap, so it is computed as one product, which gives four pixels for each pixel. As a
    convolution, it would read an image in which three of four pixels are zero.
    """

    @nn.compact
    def __call__(self, h: jax.Array) -> Features:
        b, height, width, c = h.shape
        _, columns = window = self.compute.window(2)
        kernel, bias = self._params(*window, c)
        # A transposed convolution applies its kernel reversed.
        kernel = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(c, 2, columns * self.width)
        rows = self.compute.forms.multiply(h.astype(self.compute.dtype), kernel).swapaxes(2, 3)
        pixels = Features(rows.reshape(b, 2 * height, columns * width, self.width), bias[None])
        return self.compute.forms.add_offset(pixels)
