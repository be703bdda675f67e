"""The random inputs of a training step: images, times, noise, and the images whose end-point terms are evaluated."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.losses import Noise


class StepInputs(NamedTuple):
    """A batch of images and everything random about it.

    Attributes:
      batch: the images.
      noise: times and Gaussian noise; its `eps_0` belongs to the end points.
      weight: [B] weight of the diffusion terms and of the slope errors: 1/q(t) for times drawn with density q.
      dropout_key: key of the dropout masks; None switches dropout off.
      endpoints: the E images whose end-point terms are evaluated; None stands for all images.
    """

    batch: Batch
    noise: Noise
    weight: jax.Array
    dropout_key: jax.Array | None
    endpoints: Batch | None = None

    def split(self, parts: int, blocks: int) -> "StepInputs":
        """`parts` equal parts of the batch, stacked along a new leading axis; each part has a dropout key of its own.

        The batch lies in `blocks` contiguous blocks, one per device. Each part takes the same share of every block, so
        that all devices work on all parts.
        """

        def split_rows(x):
            shared = math.gcd(blocks, len(x) // parts)
            return x.reshape(shared, parts, -1, *x.shape[1:]).swapaxes(0, 1).reshape(parts, -1, *x.shape[1:])

        assert self.dropout_key is not None
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self.dropout_key, jnp.arange(parts))
        return jax.tree.map(split_rows, self._replace(dropout_key=None))._replace(dropout_key=keys)


def every_kth(batch: Batch, k: int, first: jax.Array) -> Batch | None:
    """Rows `first`, `first` + k, ... of a batch; None, which stands for all rows, if k is 1. k divides B."""
    if k == 1:
        return None

    def rows(x):
        return jax.lax.dynamic_index_in_dim(x.reshape(-1, k, *x.shape[1:]), first, axis=1, keepdims=False)

    return jax.tree.map(rows, batch)
