"""3x3 convolutions and products by a matrix, whose gradient by the kernel has a form per platform."""

from collections.abc import Callable
from functools import partial, wraps

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import SymbolicZero

from diffenc_jax.nets.embeddings import HIGHEST
from diffenc_jax.nets.kernels.linear import linear_map

PRODUCT = "product"  # the name by which a policy of jax.checkpoint saves results


def _bilinear(f: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable:
    """Decorator: f(x, kernel, gradient), whose gradient by the kernel is gradient(x, ȳ), or JAX's own if that is None.

    JAX's own gradient is rounded to the dtype of x; others are float32, and so devices sum their gradients in float32.
    """

    @partial(jax.custom_jvp, nondiff_argnums=(0,))
    def own(gradient, x, kernel):
        return f(x, kernel)

    def derivative(gradient, primals, tangents):
        (x, kernel), (x_dot, kernel_dot) = primals, tangents
        terms = [] if type(x_dot) is SymbolicZero else [own(gradient, x_dot, kernel)]
        if type(kernel_dot) is not SymbolicZero:
            terms.append(linear_map(f, gradient, x, kernel_dot))
        return own(gradient, x, kernel), sum(terms)

    own.defjvp(derivative, symbolic_zeros=True)

    @wraps(f)
    def apply(x, kernel, gradient=None):
        return checkpoint_name(f(x, kernel) if gradient is None else own(gradient, x, kernel), PRODUCT)

    return apply


@_bilinear
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[B, H, W, C] by float32 [3, 3, C, D] -> [B, H, W, D] in the dtype of x, with zero padding."""
    return _convolve(x, kernel.astype(x.dtype))


@_bilinear
def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., C] by float32 [C, *D] -> [..., *D] in the dtype of x."""
    return jnp.tensordot(x, kernel.astype(x.dtype), 1)


def _convolve(x, kernel, precision=None):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout, precision=precision)


def convolution_gradient(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """Σ x(p + tap) ȳ(p) over images and pixels p, float32 [3, 3, C, D]: the gradient of `convolve` by its kernel."""
    layout, padding = ("CHWN", "IHWO", "HWNC"), ((1, 1), (1, 1))
    options = dict(dimension_numbers=layout, preferred_element_type=jnp.float32)
    return jax.lax.conv_general_dilated(x, y_bar, (1, 1), padding, **options)


def product_gradient(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """Σ x(p) ȳ(p) over all axes p but the last of x, float32 [C, *D]: the gradient of `multiply` by its kernel."""
    axes = tuple(range(x.ndim - 1))
    return jax.lax.dot_general(x, y_bar, ((axes, axes), ((), ())), preferred_element_type=jnp.float32)


def convolution_gradient_on_cpu(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """`convolution_gradient` by one product per row of taps: of x, moved by the row, and of ȳ, moved by each column.

    XLA would convolve by a window of the size of an image, which takes two to three times the CPU time: a third of a
    step. The loop over the rows is compiled once. Factors are float32, with the pixels of all images along one axis.
    """
    y_bar, outputs = y_bar.astype(jnp.float32), y_bar.shape[-1]
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0))).astype(jnp.float32)

    def moved(i):
        margins = (0, 0, 0), (0, 0, 0), (i - 1, 1 - i, 0), (i * outputs, (2 - i) * outputs, 0)
        return jax.lax.pad(y_bar, jnp.float32(0), margins)

    columns = moved(0) + moved(1) + moved(2)  # one pass over memory; a concatenation would be four
    columns = jax.lax.optimization_barrier(columns.reshape(-1, 3 * outputs))

    def product(i):
        row = jax.lax.dynamic_slice_in_dim(padded, i, x.shape[1], axis=1).reshape(-1, x.shape[-1])
        return jax.lax.dot_general(row, columns, (((0,), (0,)), ((), ())))

    return jax.lax.map(product, jnp.arange(3)).reshape(3, -1, 3, outputs).swapaxes(1, 2)


def product_gradient_on_cpu(x: jax.Array, y_bar: jax.Array) -> jax.Array:
    """`product_gradient`, where XLA would compute ȳ a second time, column by column: up to 5 % of a step."""
    pixels, outputs = x.reshape(-1, x.shape[-1]), y_bar.shape[x.ndim - 1 :]
    y_bar = y_bar.reshape(len(pixels), -1)
    sums = jax.lax.dot_general(pixels, y_bar, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
    return sums.reshape(-1, *outputs)


def convolve_to_image(h: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolve` for few output channels, in full float32."""
    return _convolve(h, kernel, HIGHEST)


def sum_taps(h: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolve_to_image` for TPUs: one product gives what each pixel adds to 9 neighbours.

    As a convolution, each of nine taps would fill D of a TPU's 128 columns, six times in this precision, and its three
    kernels would take the compiler a minute. The lanes of the product are the pixels, which are moved in one dimension.
    """
    b, height, width, channels = h.shape
    outputs, by_tap = kernel.shape[3], kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    added = jnp.einsum("bpc,ck->kbp", h.reshape(b, height * width, channels), by_tap, precision=HIGHEST)
    added = jnp.pad(added, [(0, 0), (0, 0), (width + 1, width + 1)])
    column = jnp.arange(height * width) % width

    def moved(i, j):
        """Share of each pixel in the one that is i - 1 rows and j - 1 columns before it, through tap [i, j]."""
        start, k = i * width + j, outputs * (3 * i + j)
        inside = (column + j - 1 >= 0) & (column + j - 1 < width)
        return jnp.where(inside, added[k : k + outputs, :, start : start + height * width], 0.0)

    sums = sum(moved(i, j) for i in range(3) for j in range(3))
    return sums.transpose(1, 2, 0).reshape(b, height, width, outputs)
