"""A residual perceptron that serves as score network and as encoder network of vectors."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.core.keys import FRACTION, REQUIRED, Limits, count, key
from diffenc_jax.nets.blocks import Chain
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.embeddings import HIGHEST, TimeEmbedding, fourier_features
from diffenc_jax.nets.kernels.dropout import draw_masks, dropout
from diffenc_jax.nets.network import ScoreNetwork, periods, time_scale
from diffenc_jax.nets.transformer import adapted_norm, modulation

MLP_WIDTHS = Limits("be a multiple of 8, at least 16", lambda width: width >= 16 and width % 8 == 0)


class Mlp(ScoreNetwork):
    """Residual blocks modulated by the time (arXiv 2212.09748), on all values of an example as one vector."""

    width: int = key(doc="Features of a block.", limits=MLP_WIDTHS)
    layers: int = count(REQUIRED, "Number of blocks.")
    dropout: float = key(doc="Dropout rate in the blocks.", limits=FRACTION)
    fourier_bins: tuple[float, ...] = periods("deviations of real data")
    time_scale: float = time_scale()

    @nn.compact
    def __call__(self, x, time, dropout_key=None, condition=None, with_heads=False):
        """The output; if `with_heads`, the pair (output, outputs of the heads by name)."""
        # The vector of the time is as wide as the blocks: the modulation of wider ones would cost most of a step.
        cond = TimeEmbedding(self.width // 4, self.time_scale, name="time")(time, condition)
        features = fourier_features(x, self.fourier_bins, self.bin_width).reshape(len(x), -1)
        h = nn.Dense(self.width, dtype=self.compute.dtype, name="embed")(features)
        block = partial(MlpBlock, self.width, self.dropout, self.compute)
        masks = draw_masks(dropout_key, self.dropout, [h.shape] * self.layers)
        h, _ = Chain(self.layers, block, self.compute, name="blocks")(h, cond, masks)
        output = partial(to_values, shape=(*x.shape[:-1], self.outputs * x.shape[-1]))
        return self.finish(h, cond, output, block, h.shape, dropout_key, with_heads)


class MlpBlock(nn.Module):
    """Features [B, C] -> [B, C]: h + g W_2 swish(W_1 (norm(h) (1 + a) + b)); a, b and g are linear in `cond` [B, D]."""

    width: int
    dropout: float
    compute: Compute

    @nn.compact
    def __call__(self, h, cond, mask=None, skip=None):
        dense = partial(nn.Dense, self.width, dtype=self.compute.dtype)
        scale, shift, gate = (part[:, 0] for part in modulation(cond, 3, self.width, self.compute.dtype, "cond"))
        hidden = nn.swish(dense(name="dense_0")(adapted_norm(h, scale, shift, self.compute.dtype)))
        return h + gate * dense(name="dense_1")(dropout(hidden, self.dropout, mask))


def to_values(h: jax.Array, cond: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Features [B, C] -> values of `shape` in float32, zero at initialisation; to be called in a compact module."""
    scale, shift = (part[:, 0] for part in modulation(cond, 2, h.shape[-1], jnp.float32, "cond_out"))
    dense = nn.Dense(math.prod(shape[1:]), kernel_init=nn.initializers.zeros, precision=HIGHEST, name="out")
    return dense(adapted_norm(h, scale, shift, jnp.float32)).reshape(shape)
