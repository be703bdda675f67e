"""Group norm with an optional swish, in as few passes over memory as possible."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from diffenc_jax.nets.lanes import channels_of, for_pairs, join, twice
from diffenc_jax.nets.xla_cpu import on_cpu

EPSILON = 1e-6
STATISTICS = "statistics"  # the name by which a policy of jax.checkpoint saves them


class GroupNorm(nn.Module):
    """`group_norm` of one array [B, H, W, C] or two, joined, in `dtype`, followed by a swish if `swish`.

    `paired` as in `Conv`.
    """

    groups: int
    dtype: Any
    swish: bool = False
    recompute: bool = True
    paired: bool = False

    @nn.compact
    def __call__(self, *parts: jax.Array) -> jax.Array:
        channels = sum(channels_of(part, self.paired) for part in parts)
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        return group_norm(parts, scale, bias, self.groups, self.dtype, self.swish, self.recompute, self.paired)


# Jitted by itself, so that its gradient by each argument is a single array on CPUs. Where such a gradient is a sum of
# terms, one of them constant over positions, XLA leaves the sum to the operations that use it, so that each block would
# add up the terms of all later blocks again. Together with `xla_cpu.isolate`: 0.57 of the time to trace and compile a
# step.
@partial(jax.jit, static_argnums=(3, 4, 5, 6, 7))
def group_norm(
    parts: tuple[jax.Array, ...],
    scale: jax.Array,
    bias: jax.Array,
    groups: int,
    dtype: Any,
    swish: bool,
    recompute: bool,
    paired: bool,
) -> jax.Array:
    """(x - E x) / sqrt(Var x + ε) · scale + bias, E and Var over an image's positions and a group's channels.

    x is one array or two, joined and paired as in `lanes`.

    arXiv 1803.08494, equations 1 and 2, computed as gain · x + shift with gain and shift [B, C] in float32 and
    Var x = E x² - (E x)²: all sums, also of the derivatives, are over positions. If `recompute`, the backward pass
    computes gain · x + shift and its swish again from x; a block that is rematerialised as a whole does not need it.
    """
    x = join(*parts) if len(parts) > 1 else parts[0]

    def over_group(means):
        if paired:
            means = means.reshape(len(x), len(parts), 2, -1).mean(axis=2)
        means = means.reshape(len(x), groups, -1).mean(axis=2)
        return jnp.repeat(means, len(scale) // groups, axis=1)

    means = _means_of_parts(*parts) if len(parts) > 1 else _means(x)
    mean, mean_square = checkpoint_name(tuple(map(over_group, means)), STATISTICS)
    gain = scale * jax.lax.rsqrt(jnp.maximum(mean_square - jnp.square(mean), 0.0) + EPSILON)
    shift = bias - gain * mean
    if paired:
        gain, shift = (for_pairs(twice, a, 1, len(parts)) for a in (gain, shift))
    apply = jax.checkpoint(_apply, static_argnums=(3, 4)) if recompute else _apply
    return apply(x, gain, shift, dtype, swish)


def _means(x):
    """Means of x and x² over positions, float32 [B, C] each."""
    wide = x.astype(jnp.float32)
    return wide.mean(axis=(1, 2)), jnp.square(wide).mean(axis=(1, 2))


@on_cpu(lambda *parts: _means(join(*parts)))
def _means_of_parts(*parts):
    """`_means` of joined arrays; TPUs take those of a part where it is made, once for all norms that read it."""
    return tuple(jnp.concatenate(means, axis=1) for means in zip(*map(_means, parts), strict=True))


def _apply(x, gain, shift, dtype, swish):
    y = (gain[:, None, None, :] * x.astype(jnp.float32) + shift[:, None, None, :]).astype(dtype)
    return nn.swish(y) if swish else y
