"""The form of each operation, by platform. Nothing else in the networks asks for the platform."""

from collections.abc import Callable
from typing import Any, NamedTuple

from diffenc_jax.nets.kernels import (
    attention,
    convolution,
    dropout,
    features,
    flash,
    joining,
    norm,
    stacking,
    triton_norm,
)


class Forms(NamedTuple):
    """One form of each operation; their values are equal up to rounding. The modules say what was measured.

    Attributes:
      remat: which activations are saved, where the configuration leaves it open; a name of `blocks.REMAT`.
      normalize: see `norm.normalize`.
      attend: softmax(q kᵀ / √C) v.
      join: see `joining.concatenate`.
      convolve_to_image: see `convolution.convolve_to_image`.
      convolution_gradient, product_gradient: gradients by kernels, see `convolution`; None for JAX's own.
      draw_masks: see `dropout.draw_masks`, for chains that are not scanned.
      isolate: see `stacking.unstack`.
      settle: what becomes of offsets by biases, see `features`.
    """

    remat: str
    normalize: Callable[..., Any]
    attend: Callable[..., Any]
    join: Callable[..., Any]
    convolve_to_image: Callable[..., Any]
    convolution_gradient: Callable[..., Any] | None
    product_gradient: Callable[..., Any] | None
    draw_masks: Callable[..., Any]
    isolate: Callable[..., Any]
    settle: Callable[..., Any]


CPU = Forms(
    remat="none",
    normalize=norm.on_cpu,
    attend=attention.attend,
    join=joining.concatenate,
    convolve_to_image=convolution.convolve_to_image,
    convolution_gradient=convolution.convolution_gradient_on_cpu,
    product_gradient=convolution.product_gradient_on_cpu,
    draw_masks=dropout.draw_alone,
    isolate=stacking.isolate,
    settle=features.settle,
)
GPU = CPU._replace(
    normalize=triton_norm.normalize,
    attend=flash.attend,
    convolution_gradient=None,
    product_gradient=None,
    draw_masks=dropout.draw_in_groups,
    isolate=stacking.apply,
)
TPU = CPU._replace(
    remat="products",
    normalize=norm.on_tpu,
    join=joining.add_padded,
    convolve_to_image=convolution.sum_taps,
    convolution_gradient=convolution.convolution_gradient,
    product_gradient=convolution.product_gradient,
    draw_masks=dropout.draw_in_groups,
    isolate=stacking.apply,
    settle=features.leave_apart,
)
PLATFORMS = {"cpu": CPU, "gpu": GPU, "tpu": TPU}
