"""Group norm and the swish after it, in as few passes over memory as can be."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

EPSILON = 1e-6
STATISTICS = "statistics"  # the name by which a policy of jax.checkpoint may keep them


class GroupNorm(nn.Module):
    """[B, H, W, C] -> [B, H, W, C] in `dtype`; see `group_norm`. Followed by swish where `swish`."""

    groups: int
    dtype: Any
    swish: bool = False
    recompute: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return group_norm(x, scale, bias, self.groups, self.dtype, self.swish, self.recompute)


# A jit of its own, so that its gradient by x is a single term. Of several, with one that is the same at all positions
# among them, XLA makes no array, but adds up anew in each block the terms of all blocks behind it.
@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def group_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, dtype: Any, swish: bool, recompute: bool
) -> jax.Array:
    """(x - E x) / sqrt(Var x + ε) · scale + bias, E and Var over an image's positions and a group's channels.

    arXiv 1803.08494, equations 1 and 2. As gain · x + shift with a gain and a shift [B, C], in float32, whatever x
    is, and Var x = E x² - (E x)²: sums over positions are the only ones in it and in its derivatives. y = gain · x +
    shift and its swish are computed again in the backward pass, which reads x anyway, if `recompute`: for what is not
    computed again as a part of something larger.
    """
    per_group = x.shape[-1] // groups
    wide = x.astype(jnp.float32)

    def by_group(by_channel):
        means = by_channel.reshape(-1, groups, per_group).mean(axis=2)
        return jnp.repeat(means, per_group, axis=1)

    means = by_group(wide.mean(axis=(1, 2))), by_group(jnp.square(wide).mean(axis=(1, 2)))
    mean, mean_square = checkpoint_name(means, STATISTICS)
    gain = scale * jax.lax.rsqrt(jnp.maximum(mean_square - jnp.square(mean), 0.0) + EPSILON)
    apply = jax.checkpoint(_apply, static_argnums=(3, 4)) if recompute else _apply
    return apply(x, gain, bias - gain * mean, dtype, swish)


def _apply(x, gain, shift, dtype, swish):
    y = (gain[:, None, None, :] * x.astype(jnp.float32) + shift[:, None, None, :]).astype(dtype)
    return nn.swish(y) if swish else y
