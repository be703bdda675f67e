"""3x3 convolutions and products by a matrix."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import SymbolicZero

from diffenc_jax.nets.embeddings import HIGHEST
from diffenc_jax.nets.kernels.linear import linear_map

PRODUCT = "product"  # the name by which a policy of jax.checkpoint saves results


def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., C] by float32 [C, *D] -> [..., *D] in the dtype of x."""
    return checkpoint_name(jnp.tensordot(x, kernel.astype(x.dtype), 1), PRODUCT)


def multiply_on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`multiply` as a product of matrices.

    With more axes, CPUs would compute the cotangent of the result a second time, column by column, for the gradient by
    the kernel: a step would take 1.05 times the CPU seconds. TPUs lay out arrays by four axes, so they do not use this
    form: a step of `cifar10:vdm-8` with two layers would take 1.12 times the cycles on a v5e.
    """
    y = multiply(x.reshape(-1, x.shape[-1]), kernel.reshape(x.shape[-1], -1))
    return y.reshape(*x.shape[:-1], *kernel.shape[1:])


def convolve(x: jax.Array, kernel: jax.Array, periodic: bool = False) -> jax.Array:
    """[B, H, W, C] by float32 [3, 3, C, D] -> [B, H, W, D] in the dtype of x.

    Beyond the edges of an image stand zeros; if `periodic`, its opposite edges.
    """
    return checkpoint_name(_convolve(x, kernel, periodic), PRODUCT)


def convolve_on_cpu(x: jax.Array, kernel: jax.Array, periodic: bool = False) -> jax.Array:
    """`convolve` with `gradient_by_kernel`."""
    return checkpoint_name(_convolve_on_cpu(x, kernel, periodic), PRODUCT)


def _convolve(x, kernel, periodic, precision=None):
    x, padding = (_wrap(x, kernel.shape[:2]), "VALID") if periodic else (x, "SAME")
    kernel, layout = kernel.astype(x.dtype), ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=layout, precision=precision)


def _wrap(x: jax.Array, window: tuple[int, ...]) -> jax.Array:
    """Images with margins from their opposite edges, as wide as a window of odd sides reaches."""
    return jnp.pad(x, [(0, 0), *((side // 2, side // 2) for side in window), (0, 0)], mode="wrap")


_convolve_on_cpu = jax.custom_jvp(lambda x, kernel, periodic: _convolve(x, kernel, periodic), nondiff_argnums=(2,))


def _derivative(periodic, primals, tangents):
    (x, kernel), (x_dot, kernel_dot) = primals, tangents
    terms = [] if type(x_dot) is SymbolicZero else [_convolve_on_cpu(x_dot, kernel, periodic)]
    if type(kernel_dot) is not SymbolicZero:
        maps = partial(_convolve, periodic=periodic), partial(gradient_by_kernel, periodic=periodic)
        terms.append(linear_map(*maps, x, kernel_dot))
    return _convolve_on_cpu(x, kernel, periodic), sum(terms)


_convolve_on_cpu.defjvp(_derivative, symbolic_zeros=True)


def gradient_by_kernel(x: jax.Array, y_bar: jax.Array, periodic: bool = False) -> jax.Array:
    """Σ x(p + tap) ȳ(p) over images and pixels p, float32 [3, 3, C, D]: the gradient of `convolve` by its kernel.

    There is one product per row of taps: of x, shifted by the row, and of ȳ, shifted by each column. XLA would compute
    a convolution with a window of the size of an image. This takes two to three times the CPU time, a third of a step.
    The loop over the rows is compiled once. Factors are float32, with the pixels of all images along one axis.
    """
    y_bar, outputs = y_bar.astype(jnp.float32), y_bar.shape[-1]
    padded = _wrap(x, (3, 1)) if periodic else jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    padded = padded.astype(jnp.float32)

    def moved(i):
        values, columns = (jnp.roll(y_bar, i - 1, 2), (0, 0, 0)) if periodic else (y_bar, (i - 1, 1 - i, 0))
        return jax.lax.pad(values, jnp.float32(0), ((0, 0, 0), (0, 0, 0), columns, (i * outputs, (2 - i) * outputs, 0)))

    columns = moved(0) + moved(1) + moved(2)  # one pass over memory; a concatenation would be four
    columns = jax.lax.optimization_barrier(columns.reshape(-1, 3 * outputs))

    def product(i):
        row = jax.lax.dynamic_slice_in_dim(padded, i, x.shape[1], axis=1).reshape(-1, x.shape[-1])
        return jax.lax.dot_general(row, columns, (((0,), (0,)), ((), ())))

    return jax.lax.map(product, jnp.arange(3)).reshape(3, -1, 3, outputs).swapaxes(1, 2)


def convolve_to_image(h: jax.Array, kernel: jax.Array, periodic: bool = False) -> jax.Array:
    """`convolve` for few output channels, in full float32."""
    return _convolve(h, kernel, periodic, HIGHEST)


def sum_taps(h: jax.Array, kernel: jax.Array, periodic: bool = False) -> jax.Array:
    """`convolve_to_image` for TPUs: one product gives what each pixel adds to 9 neighbours.

    In a convolution, each of the nine taps would fill only D of a TPU's 128 columns, six times in this precision: a
    step of `cifar10:vdm-8` with two layers would take 1.056 times the cycles on a v5e. The lanes of the product are the
    pixels, which are shifted in one dimension.
    """
    if periodic:
        return convolve_to_image(h, kernel, periodic)
    b, height, width, channels = h.shape
    outputs, by_tap = kernel.shape[3], kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    added = jnp.einsum("bpc,ck->kbp", h.reshape(b, height * width, channels), by_tap, precision=HIGHEST)
    added = jnp.pad(added, [(0, 0), (0, 0), (width + 1, width + 1)])
    column = jnp.arange(height * width) % width

    def moved(i, j):
        """Contribution of each pixel, through tap [i, j], to the pixel i - 1 rows and j - 1 columns before it."""
        start, k = i * width + j, outputs * (3 * i + j)
        inside = (column + j - 1 >= 0) & (column + j - 1 < width)
        return jnp.where(inside, added[k : k + outputs, :, start : start + height * width], 0.0)

    sums = sum(moved(i, j) for i in range(3) for j in range(3))
    return sums.transpose(1, 2, 0).reshape(b, height, width, outputs)
