"""Residual attention over all positions of an image."""

from functools import partial

import flax.linen as nn
import jax

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.conv import Dense
from diffenc_jax.nets.norms import GroupNorm

ATTENTION_GROUPS = 32


class Attention(nn.Module):
    """Residual attention with one head over all positions of [B, H, W, C]."""

    compute: Compute

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        dense = partial(Dense, c, self.compute)
        normed, x = GroupNorm(ATTENTION_GROUPS, self.compute, keep=True, name="norm")(x)
        query, key, value = (dense(name=name)(normed.reshape(b, h * w, c)) for name in ("query", "key", "value"))
        mixed = self.compute.forms.attend(query, key, value, self.compute.scan)
        return x + dense(kernel_init=nn.initializers.zeros, name="out")(mixed).reshape(x.shape)
