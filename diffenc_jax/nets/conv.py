"""Convolutions of 3x3 pixels and of one, as layers."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels.convolution import convolve, multiply


class _Linear(nn.Module):
    """Attributes and parameters of `Conv` and `Dense`.

    Attributes:
      bias_apart: whether the bias is not added but returned besides, in float32 [width], to be added with others.
    """

    width: int
    compute: Compute
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_apart: bool = False

    def _apply(self, x, taps, f, gradient):
        kernel = self.param("kernel", self.kernel_init, (*taps, x.shape[-1], self.width), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        y = f(x.astype(self.compute.dtype), kernel, gradient)
        return (y, bias) if self.bias_apart else y + bias.astype(y.dtype)


class Conv(_Linear):
    """3x3 convolution [B, H, W, C] -> [B, H, W, width] with zero padding, in the dtype of `compute`."""

    @nn.compact
    def __call__(self, x: jax.Array):
        return self._apply(x, (3, 3), convolve, self.compute.forms.convolution_gradient)


class Dense(_Linear):
    """[..., C] -> [..., width], in the dtype of `compute`."""

    @nn.compact
    def __call__(self, x: jax.Array):
        return self._apply(x, (), multiply, self.compute.forms.product_gradient)


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
