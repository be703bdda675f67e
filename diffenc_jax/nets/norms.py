"""Group norm as a layer."""

import flax.linen as nn
import jax.numpy as jnp

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels.dropout import Mask
from diffenc_jax.nets.kernels.features import Features
from diffenc_jax.nets.kernels.norm import Options, Params


class GroupNorm(nn.Module):
    """`norm.normalize` of features, joined if there are two, in the dtype of `compute`; see `norm.Options`."""

    groups: int
    compute: Compute
    swish: bool = False
    dropout: float = 0.0
    keep: bool = False

    @nn.compact
    def __call__(self, *parts: Features, mask: Mask | None = None):
        """The norm [B, H, W, C]; if `keep`, the pair (norm, joined features)."""
        channels = sum(part.x.shape[-1] for part in parts)
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        offsets = [part.offset for part in parts if part.offset is not None]
        offset = jnp.concatenate(offsets, axis=1) if offsets else None
        compute, recompute = self.compute, self.compute.remat == "none"
        options = Options(self.groups, compute.dtype, self.swish, self.dropout, self.keep, recompute)
        arrays = tuple(part.x for part in parts)
        y, x = compute.forms.normalize(options, arrays, Params(offset, scale, bias), mask)
        return (y, Features(x, offset)) if self.keep else y
