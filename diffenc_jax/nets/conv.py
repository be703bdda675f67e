"""Convolutions of 3x3 pixels and of one, as layers."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels.convolution import convolve, multiply
from diffenc_jax.nets.kernels.features import Features


class _Linear(nn.Module):
    """Attributes and parameters of `Conv` and `Dense`."""

    width: int
    compute: Compute
    kernel_init: Callable = nn.initializers.lecun_normal()

    def _params(self, *shape: int) -> tuple[jax.Array, jax.Array]:
        """Kernel [*shape, width] and bias [width]."""
        kernel = self.param("kernel", self.kernel_init, (*shape, self.width), jnp.float32)
        return kernel, self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)


class Conv(_Linear):
    """3x3 convolution [B, H, W, C] -> features [B, H, W, width] with zero padding, in the dtype of `compute`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> Features:
        kernel, bias = self._params(3, 3, x.shape[-1])
        y = convolve(x.astype(self.compute.dtype), kernel, self.compute.forms.convolution_gradient)
        return Features(y, bias[None])


class Dense(_Linear):
    """Product of features [B, H, W, C] by a matrix, features [B, H, W, width] in the dtype of `compute`."""

    @nn.compact
    def __call__(self, features: Features) -> Features:
        x, offset = features
        kernel, bias = self._params(x.shape[-1])
        y = multiply(x.astype(self.compute.dtype), kernel, self.compute.forms.product_gradient)
        return Features(y, bias[None] if offset is None else bias + multiply(offset, kernel))


class ImageConv(nn.Module):
    """3x3 convolution [B, H, W, C] -> [B, H, W, channels] for few channels, in full float32, zero at initialisation."""

    channels: int
    compute: Compute

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        zeros = nn.initializers.zeros
        kernel = self.param("kernel", zeros, (3, 3, h.shape[-1], self.channels), jnp.float32)
        bias = self.param("bias", zeros, (self.channels,), jnp.float32)
        return bias + self.compute.forms.convolve_to_image(h, kernel)
