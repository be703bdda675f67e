"""Convolutions of 3x3 pixels and of one."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, linear_call

from diffenc_jax.nets import xla_cpu
from diffenc_jax.nets.embeddings import HIGHEST
from diffenc_jax.nets.lanes import channels_of, for_pairs, pair_kernel, pair_matrix, twice, unpair


class _Linear(nn.Module):
    """Attributes and parameters of `Conv` and `Dense`.

    Attributes:
      paired, joined: whether the input is paired, and of how many arrays it is joined; see `lanes`.
    """

    width: int
    dtype: Any
    kernel_init: Callable = nn.initializers.lecun_normal()
    paired: bool = False
    joined: int = 1

    def _weights(self, x, taps, make_paired):
        """Kernel in float32 [*taps, C, width] and bias in `dtype` [width], or those for pairs."""
        shape = (*taps, channels_of(x, self.paired), self.width)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        if self.paired:
            kernel, bias = for_pairs(make_paired, kernel, len(taps), self.joined), twice(bias)
        return kernel, bias.astype(self.dtype)


class Conv(_Linear):
    """3x3 convolution [B, H, W, C] -> [B, H, W, width] with zero padding, in `dtype`; attributes of `_Linear`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = self._weights(x, (3, 3), pair_kernel)
        return convolve(x.astype(self.dtype), kernel) + bias


class Dense(_Linear):
    """[..., C] -> [..., width], in `dtype`; attributes of `_Linear`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = self._weights(x, (), pair_matrix)
        return multiply(x.astype(self.dtype), kernel) + bias


class ImageConv(nn.Module):
    """3x3 convolution [B, H, W, C] -> [B, H, W, channels] for few channels, in full float32, zero at initialisation.

    Its input may be paired, its output is not.
    """

    channels: int
    paired: bool = False

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        zeros = nn.initializers.zeros
        kernel = self.param("kernel", zeros, (3, 3, channels_of(h, self.paired), self.channels), jnp.float32)
        bias = self.param("bias", zeros, (self.channels,), jnp.float32)
        # XLA's CPU compiler calls a library for the convolution, and takes seconds to compile the sum.
        return bias + xla_cpu.on_cpu(_convolve_unpaired)(sum_taps)(h, kernel, paired=self.paired)


def _convolve(x, kernel, precision=None):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout, precision=precision)


def _convolve_unpaired(h, kernel, *, paired):
    return _convolve(unpair(h) if paired else h, kernel, HIGHEST)


def convolution_gradient(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """Σ x(p + tap) ȳ(p) over images and pixels p, float32 [3, 3, C, D]: the gradient of `convolve` by its kernel."""
    layout, padding = ("CHWN", "IHWO", "HWNC"), ((1, 1), (1, 1))
    options = dict(dimension_numbers=layout, preferred_element_type=jnp.float32)
    return jax.lax.conv_general_dilated(x, y_bar, (1, 1), padding, **options)


def product_gradient(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """Σ x(p) ȳ(p) over all axes p but the last of x, float32 [C, *D]: the gradient of `multiply` by its kernel."""
    axes = tuple(range(x.ndim - 1))
    return jax.lax.dot_general(x, y_bar, ((axes, axes), ((), ())), preferred_element_type=jnp.float32)


def with_kernel_gradient(*, cpu: Callable, tpu: Callable) -> Callable[[Callable], Callable]:
    """Decorator: the gradient of f(x, kernel), linear in each, by the kernel is cpu(x, ȳ) or tpu(x, ȳ) on these.

    They return float32, and so devices sum their gradients in float32. JAX's own gradient is rounded to the dtype of x
    before that. It remains on GPUs, where products of bfloat16 with a float32 result have not been tried, and for
    biases, whose sums XLA's TPU compiler would not fuse with other operations in float32: 4 % of a step's cycles.
    """

    def decorate(f):
        own = jax.custom_jvp(f)

        def derivative(primals, tangents):
            (x, kernel), (x_dot, kernel_dot) = primals, tangents
            shape = jax.ShapeDtypeStruct(kernel.shape, kernel.dtype)

            def gradient(x, y_bar):
                def rounded(x, y_bar):
                    return jax.linear_transpose(partial(f, x), shape)(y_bar)[0]

                return jax.lax.platform_dependent(x, y_bar, cpu=cpu, tpu=tpu, default=rounded)

            terms = [] if type(x_dot) is SymbolicZero else [own(x_dot, kernel)]
            if type(kernel_dot) is not SymbolicZero:
                terms.append(linear_call(f, gradient, x, kernel_dot))
            return own(x, kernel), sum(terms)

        own.defjvp(derivative, symbolic_zeros=True)
        return own

    return decorate


@with_kernel_gradient(cpu=xla_cpu.convolution_gradient, tpu=convolution_gradient)
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[B, H, W, C] by float32 [3, 3, C, D] -> [B, H, W, D] in the dtype of x, with zero padding.

    The gradient by the kernel is as in `with_kernel_gradient`.
    """
    return _convolve(x, kernel.astype(x.dtype))


@with_kernel_gradient(cpu=xla_cpu.product_gradient, tpu=product_gradient)
def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., C] by float32 [C, *D] -> [..., *D] in the dtype of x; gradient as in `convolve`."""
    return jnp.tensordot(x, kernel.astype(x.dtype), 1)


def sum_taps(h: jax.Array, kernel: jax.Array, *, paired: bool = False) -> jax.Array:
    """`convolve` for few output channels D, in full float32: one product gives what each pixel adds to 9 neighbours.

    As a convolution, each of nine taps would fill D of a TPU's 128 columns, six times in this precision, and its three
    kernels would take the compiler a minute. The lanes of the product are the pixels, which are moved in one dimension.
    """
    b, height, width, _ = h.shape
    pixels, (channels, outputs) = 2 if paired else 1, kernel.shape[2:]
    by_tap = jnp.einsum("ijcd,fg->fcijgd", kernel, jnp.eye(pixels, dtype=kernel.dtype)).reshape(pixels * channels, -1)
    added = jnp.einsum("bpc,ck->kbp", h.reshape(b, height * width, -1), by_tap, precision=HIGHEST)
    added = jnp.pad(added, [(0, 0), (0, 0), (width + 1, width + 1)])
    column = jnp.arange(height * width) % width

    def moved(i, j, pixel):
        """The share of pixel `pixel` of each pair through tap [i, j], from pixel `source` of the pair `step` away."""
        step, source = divmod(pixel + j - 1, pixels)
        start, k = i * width + 1 + step, outputs * (pixels * (3 * i + j) + source)
        inside = (column + step >= 0) & (column + step < width)
        return jnp.where(inside, added[k : k + outputs, :, start : start + height * width], 0.0)

    sums = [sum(moved(i, j, pixel) for i in range(3) for j in range(3)) for pixel in range(pixels)]
    return jnp.stack(sums).transpose(2, 3, 0, 1).reshape(b, height, pixels * width, outputs)
