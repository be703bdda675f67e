"""How a network is computed."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from diffenc_jax.nets.kernels.forms import Forms, forms_of


@dataclass(frozen=True)
class Compute:
    """How a network is computed. Apart from `axes` and `periodic`, settings change values only by rounding to `dtype`.

    Attributes:
      dtype: dtype of the blocks. Time, Fourier features, the norms' statistics, an attention's softmax and the output
        are always float32.
      scan: whether chains of equal blocks are scanned; see `blocks.Chain`.
      remat: which activations are saved for the backward pass, a name of `blocks.REMAT`.
      platform: kind of the devices, 'cpu', 'gpu' or 'tpu'; None for JAX's default.
      axes: number of axes of positions: 2 for images, 1 for series, whose second axis has length 1.
      periodic: whether the opposite edges of an image are neighbours; otherwise convolutions see zeros beyond an edge.
    """

    dtype: Any = jnp.float32
    scan: bool = False
    remat: str = "none"
    platform: str | None = None
    axes: int = 2
    periodic: bool = False

    def window(self, size: int) -> tuple[int, int]:
        """Height and width of a window of `size` positions along each axis."""
        return size, size if self.axes == 2 else 1

    @property
    def forms(self) -> Forms:
        """The form of each operation."""
        return forms_of(self.platform or jax.default_backend())
