"""Group norm of joined features plus an offset, followed by a swish and dropout."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from diffenc_jax.nets.embeddings import HIGHEST
from diffenc_jax.nets.kernels.dropout import Mask, dropout
from diffenc_jax.nets.kernels.features import Features, add_padded, concatenate

EPSILON = 1e-6
STATISTICS = "statistics"  # the name by which a policy of jax.checkpoint saves them


class Options(NamedTuple):
    """Settings of a norm.

    Attributes:
      groups: number of groups of channels.
      dtype: dtype of the result.
      swish: whether a swish follows.
      rate: dropout rate, for calls with a mask.
      keep: whether the joined input is returned too. If callers use it in place of their own copy, a kernel adds up the
        gradients by this input.
      recompute: whether the backward pass computes the result again from the input; ignored by kernels.
    """

    groups: int
    dtype: Any
    swish: bool = False
    rate: float = 0.0
    keep: bool = False
    recompute: bool = True


class Params(NamedTuple):
    """Numbers by channel, float32: `offset` [B or 1, C], added to the input, or None; `scale` and `bias` [C]."""

    offset: jax.Array | None
    scale: jax.Array
    bias: jax.Array


# The features of one array [B, H, W, C], or of two that are to be joined.
Parts = tuple[jax.Array, ...]
Join = Callable[[jax.Array, jax.Array], jax.Array]


def normalize(
    options: Options, parts: Parts, params: Params, mask: Mask | None, *, join: Join, means_apart: bool
) -> tuple[jax.Array, jax.Array | None]:
    """dropout(swish(norm(x + offset))) in `options.dtype`, and x if `options.keep`; x is the array of the joined parts.

    norm(x) = (x - E x) / sqrt(Var x + ε) · scale + bias, E and Var over an image's positions and a group's channels
    (arXiv 1803.08494, equations 1 and 2).

    Args:
      mask: entries that dropout keeps, or None.
      join: joins two parts.
      means_apart: whether means are computed for each part; the means of the joined array then follow from these and
        the offset.
    """
    x = parts[0] if len(parts) == 1 else join(*parts)
    if means_apart:
        y = _group_norm(x, parts, params, options)
    else:
        y = _group_norm(Features(x, params.offset).sum(), (), params._replace(offset=None), options)
    return dropout(y, options.rate, mask), x if options.keep else None


# CPUs read a joined array once for the means and the norm. TPUs take the means of a part where it is made, once for all
# norms that read it. Means of the joined array take 1.13 times the cycles of a step of `cifar10:vdm-8` with two layers
# on a v5e. GPUs without Triton have the form of TPUs: by the compiler for an H100, a step of `cifar10:vdm-8` with 128
# images moves 37.3 GB in bfloat16 and 73.8 in float32, and 41.4 and 83.4 in the form of CPUs.
on_cpu = partial(normalize, join=concatenate, means_apart=False)
on_tpu = partial(normalize, join=add_padded, means_apart=True)


# Jitted by itself, so that its gradient by each argument is a single array on CPUs. Where such a gradient is a sum of
# terms, one of them constant over positions, XLA leaves the sum to the operations that use it, so that each block would
# add up the terms of all later blocks again. Together with `stacking.barrier`: 0.57 of the time to trace and compile a
# step.
@partial(jax.jit, static_argnums=3)
def _group_norm(x, parts, params, options):
    """The norm of x and its swish, computed as gain · x + shift with gain and shift [B, C] in float32.

    If `parts` are given, x is their joined array, and means are computed for each part. All other values are computed
    from x, so that the gradients by the joined array are added up before they are split.

    Var x is computed as E x² - (E x)². All sums, including the sums of the derivatives, are over positions. The means
    of x + offset follow from the means of x, so that the gradient by the offset needs no further sums. If `recompute`,
    the backward pass computes gain · x + shift and its swish again from x. A block that is rematerialised as a whole
    does not need this.

    Means over groups are computed by one product. Sums and repetitions would be separate kernels on TPUs: a step of
    `cifar10:vdm-8` with two layers would take 6 % more cycles on a v5e.
    """
    offset, scale, bias = params
    means = tuple(jnp.concatenate(each, axis=1) for each in zip(*map(_means, parts or (x,)), strict=True))
    first, second = checkpoint_name(means, STATISTICS)
    if offset is not None:
        first, second = first + offset, second + offset * (2 * first + offset)
    group = jnp.arange(len(scale)) * options.groups // len(scale)
    share = (group[:, None] == group) * jnp.float32(options.groups / len(scale))
    mean, mean_square = jnp.matmul(jnp.stack([first, second]), share, precision=HIGHEST)
    gain = scale * jax.lax.rsqrt(jnp.maximum(mean_square - jnp.square(mean), 0.0) + EPSILON)
    shift = bias - gain * (mean if offset is None else mean - offset)
    apply = jax.checkpoint(_apply, static_argnums=(3, 4)) if options.recompute else _apply
    return apply(x, gain, shift, options.dtype, options.swish)


def _means(x):
    """Means of x and x² over positions, float32 [B, C] each."""
    wide = x.astype(jnp.float32)
    return wide.mean(axis=(1, 2)), jnp.square(wide).mean(axis=(1, 2))


def _apply(x, gain, shift, dtype, swish):
    y = (gain[:, None, None, :] * x.astype(jnp.float32) + shift[:, None, None, :]).astype(dtype)
    return nn.swish(y) if swish else y
