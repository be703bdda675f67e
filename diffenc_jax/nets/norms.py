"""Group norm as a layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels.dropout import Mask
from diffenc_jax.nets.kernels.norm import Options, Params


class GroupNorm(nn.Module):
    """`norm.normalize` of one array [B, H, W, C] or two, in the dtype of `compute`; see `norm.Options`."""

    groups: int
    compute: Compute
    swish: bool = False
    dropout: float = 0.0
    keep: bool = False

    @nn.compact
    def __call__(self, *parts: jax.Array, offset: jax.Array | None = None, mask: Mask | None = None):
        """The norm, of the features plus `offset` [B, C]; if `keep`, the pair of it and of the joined features."""
        channels = sum(part.shape[-1] for part in parts)
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        compute = self.compute
        options = Options(
            self.groups, compute.dtype, self.swish, self.dropout, self.keep, recompute=compute.remat == "none"
        )
        y, x = compute.forms.normalize(options, parts, Params(offset, scale, bias), mask)
        return (y, x) if self.keep else y
