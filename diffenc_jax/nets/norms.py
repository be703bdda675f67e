"""Group norm with an optional swish, in as few passes over memory as possible."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from diffenc_jax.nets.xla_cpu import with_single_gradient

EPSILON = 1e-6
STATISTICS = "statistics"  # the name by which a policy of jax.checkpoint saves them


class GroupNorm(nn.Module):
    """`group_norm` of [B, H, W, C] in `dtype`, followed by a swish if `swish`."""

    groups: int
    dtype: Any
    swish: bool = False
    recompute: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return group_norm(x, scale, bias, self.groups, self.dtype, self.swish, self.recompute)


@partial(with_single_gradient, static_argnums=(3, 4, 5, 6))
def group_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, dtype: Any, swish: bool, recompute: bool
) -> jax.Array:
    """(x - E x) / sqrt(Var x + ε) · scale + bias, E and Var over an image's positions and a group's channels.

    arXiv 1803.08494, equations 1 and 2, computed as gain · x + shift with gain and shift [B, C] in float32 and
    Var x = E x² - (E x)²: all sums, also of the derivatives, are over positions. If `recompute`, the backward pass
    computes gain · x + shift and its swish again from x; a block that is rematerialised as a whole does not need it.
    """
    per_group = x.shape[-1] // groups
    wide = x.astype(jnp.float32)

    def group_mean(by_channel):
        means = by_channel.reshape(-1, groups, per_group).mean(axis=2)
        return jnp.repeat(means, per_group, axis=1)

    means = group_mean(wide.mean(axis=(1, 2))), group_mean(jnp.square(wide).mean(axis=(1, 2)))
    mean, mean_square = checkpoint_name(means, STATISTICS)
    gain = scale * jax.lax.rsqrt(jnp.maximum(mean_square - jnp.square(mean), 0.0) + EPSILON)
    apply = jax.checkpoint(_apply, static_argnums=(3, 4)) if recompute else _apply
    return apply(x, gain, bias - gain * mean, dtype, swish)


def _apply(x, gain, shift, dtype, swish):
    y = (gain[:, None, None, :] * x.astype(jnp.float32) + shift[:, None, None, :]).astype(dtype)
    return nn.swish(y) if swish else y
