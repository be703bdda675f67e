"""Residual attention over all positions of an image."""

from functools import partial

import flax.linen as nn

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.conv import Dense
from diffenc_jax.nets.kernels.features import Features
from diffenc_jax.nets.norms import GroupNorm


def attention_groups(channels: int) -> int:
    """Groups of the norm before attention: 32, as published, but one per channel where there are fewer channels."""
    return min(32, channels)


class Attention(nn.Module):
    """Residual attention with one head over all positions of features."""

    compute: Compute

    @nn.compact
    def __call__(self, h: Features) -> Features:
        shape = h.x.shape
        dense = partial(Dense, shape[-1], self.compute)
        normed, h = GroupNorm(attention_groups(shape[-1]), self.compute, keep=True, name="norm")(h)
        tokens = (shape[0], -1, shape[-1])
        names = "query", "key", "value"
        query, key, value = (dense(name=name)(Features(normed)).sum().reshape(tokens) for name in names)
        mixed = Features(self.compute.forms.attend(query, key, value, self.compute.scan).reshape(shape))
        out = dense(kernel_init=nn.initializers.zeros, name="out")
        return h.plus(self.compute.forms.add_offset(out(mixed)))
