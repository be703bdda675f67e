"""The network that gives an image its code."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.nets.embeddings import HIGHEST


class CodeNetwork(nn.Module):
    """x [B, H, W, C] -> logits [B, units], linear in x + trunk(x), float32.

    Attributes:
      trunk: a network of images and times, which is zero at initialisation; its time is 0.
      units: number of logits.
    """

    trunk: nn.Module
    units: int

    @nn.compact
    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        seen = x + self.trunk(x, jnp.zeros(len(x), x.dtype), dropout_key)
        return nn.Dense(self.units, precision=HIGHEST, name="logits")(seen.reshape(len(x), -1))
