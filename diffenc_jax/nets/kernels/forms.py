"""The form of each operation, by platform. Nothing else in the networks asks for the platform."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from diffenc_jax.core.errors import first_line
from diffenc_jax.nets.kernels import attention, convolution, features, norm, stacking

NO_KERNELS = (
    "warning: this JAX has no Triton backend for Pallas ({}), so a training step on a GPU moves 0.41 of the published "
    "step's bytes in bfloat16 instead of 0.30, and 0.82 instead of 0.65 in float32; JAX 0.10.2 to 0.12.0.1 have it"
)


class Forms(NamedTuple):
    """One form of each operation, by default that for CPUs; all forms give equal values up to rounding.

    The modules of the operations have the measurements.

    Attributes:
      remat: which activations are saved if the configuration does not say; a name of `blocks.REMAT`.
      normalize: see `norm.normalize`.
      attend: softmax(q kᵀ / √C) v.
      join: see `features.concatenate`.
      multiply, convolve, convolve_to_image: see `convolution`.
      barrier: see `stacking.unstack`.
      add_offset: whether the offsets of biases are added to features, see `features`.
    """

    remat: str = "none"
    normalize: Callable[..., Any] = norm.on_cpu
    attend: Callable[..., Any] = attention.attend
    join: Callable[..., Any] = features.concatenate
    multiply: Callable[..., Any] = convolution.multiply_on_cpu
    convolve: Callable[..., Any] = convolution.convolve_on_cpu
    convolve_to_image: Callable[..., Any] = convolution.convolve_to_image
    barrier: Callable[..., Any] = stacking.barrier
    add_offset: Callable[..., Any] = features.add_offset


CPU = Forms()
GPU = Forms(  # without Triton kernels, which `forms_of` adds
    normalize=norm.on_tpu,
    attend=attention.on_gpu,
    multiply=convolution.multiply,
    convolve=convolution.convolve,
    barrier=stacking.apply,
)
TPU = Forms(
    remat="products",
    normalize=norm.on_tpu,
    join=features.add_padded,
    multiply=convolution.multiply,
    convolve=convolution.convolve,
    convolve_to_image=convolution.sum_taps,
    barrier=stacking.apply,
    add_offset=features.leave_apart,
)
PLATFORMS = {"cpu": CPU, "gpu": GPU, "tpu": TPU}


@cache
def forms_of(platform: str) -> Forms:
    """The form of each operation on `platform`; platforms without a form of their own use the form for CPUs.

    The norm's kernel for GPUs is imported here, and only for GPUs: it needs Pallas's Triton backend, and JAX will
    remove this backend. Without this backend, GPUs use XLA's norms, and one line on standard error says so.
    """
    forms = PLATFORMS.get(platform, CPU)
    if forms is not GPU:
        return forms
    try:
        from diffenc_jax.nets.kernels import triton_norm
    except (ImportError, TypeError) as error:  # the backend is gone, or its names or arguments have changed
        print(NO_KERNELS.format(first_line(error)), file=sys.stderr, flush=True)
        return GPU
    return GPU._replace(normalize=triton_norm.normalize)
