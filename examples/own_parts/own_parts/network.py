"""A score network: residual 3x3 convolutions at full resolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import FRACTION, count, key
from diffenc_jax.nets.embeddings import WIDTHS, TimeEmbedding, fourier_features
from diffenc_jax.nets.network import ScoreNetwork


class Convolutions(ScoreNetwork):
    """z_t [B, H, W, C] -> the estimate minus z_t [B, H, W, C]; with heads, also their outputs by name."""

    width: int = key(32, "Number of channels.", limits=WIDTHS)
    layers: int = count(4, "Number of residual blocks.")
    dropout: float = key(0.1, "Dropout rate before the last layer.", limits=FRACTION)

    def check(self, path, shape):
        require(min(shape[:2]) > 2, f"{path}.kind needs images of 3x3 pixels or more; these are {shape[0]}x{shape[1]}")

    @nn.compact
    def __call__(self, x, time, dropout_key=None, condition=None, with_heads=False):
        dtype, window = self.compute.dtype, (3, 3)
        cond = TimeEmbedding(self.width)(time, condition)  # [B, 4 width]
        h = nn.Conv(self.width, window, dtype=dtype)(fourier_features(x, (2.0, 1.0), self.bin_width))
        for _ in range(self.layers):
            shift = nn.Dense(self.width, dtype=dtype)(cond)[:, None, None, :]
            h = h + nn.Conv(self.width, window, dtype=dtype)(nn.swish(nn.LayerNorm(dtype=dtype)(h) + shift))
        h = nn.swish(nn.LayerNorm(dtype=jnp.float32)(h))
        h = nn.Dropout(self.dropout, deterministic=dropout_key is None)(h, rng=dropout_key)

        def image(name, h):
            """The last layer: float32 [B, H, W, C], zero at initialisation."""
            return nn.Conv(self.outputs * x.shape[-1], window, kernel_init=nn.initializers.zeros, name=name)(h)

        output = image("output", h)
        if not (with_heads or self.is_initializing()):
            return output
        heads = {name: image(name, jax.lax.stop_gradient(h)) for name in self.extra_heads}
        return (output, heads) if with_heads else output
