"""The network of a linear encoder: one gain and one offset per frequency of an image."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import key
from diffenc_jax.nets.embeddings import HIGHEST, WIDTHS, TimeEmbedding
from diffenc_jax.nets.network import Network


class FrequencyGains(Network):
    """[B, H, W, C], [B] -> IDCT(a(t) · DCT(x) + b(t)), [B, H, W, C] in float32, zero at initialisation.

    A perceptron computes a and b [H, W, C], one number each per frequency and channel, from the time. DCT stands for
    `dct`. There is no dropout.
    """

    width: int = key(doc="Width of the time embedding.", limits=WIDTHS)

    takes_outputs = False

    def check(self, path: str, shape: tuple[int, ...]) -> None:
        """Raise InputError unless `shape` is that of images."""
        require(len(shape) == 3, f"{path}.kind is for images [N, H, W, C], not for data of the shape {list(shape)}")

    @nn.compact
    def __call__(self, x, time, dropout_key=None, condition=None):
        cond = TimeEmbedding(self.width, name="time")(time, condition)
        values, zeros = 2 * math.prod(x.shape[1:]), nn.initializers.zeros
        gains = nn.Dense(values, kernel_init=zeros, precision=HIGHEST, name="gains")(cond)
        gain, offset = jnp.split(gains.reshape(-1, 2, *x.shape[1:]), 2, axis=1)
        return dct(gain[:, 0] * dct(x) + offset[:, 0], inverse=True)


def dct(x: jax.Array, inverse: bool = False) -> jax.Array:
    """Orthonormal two-dimensional DCT-II over height and width of [B, H, W, C]: D_H x D_W^T; see `dct_matrix`.

    The inverse is D_H^T x D_W. In the products, the axis of channels comes before the axes of pixels: for GPUs, JAX
    0.10 cannot compile products with three channels in the last axis.
    """
    rows, columns = (dct_matrix(size).astype(x.dtype) for size in x.shape[1:3])
    planes = jnp.moveaxis(x, 3, 1)
    planes = jnp.matmul(rows.T if inverse else rows, planes, precision=HIGHEST)
    planes = jnp.matmul(planes, columns if inverse else columns.T, precision=HIGHEST)
    return jnp.moveaxis(planes, 1, 3)


def dct_matrix(n: int) -> np.ndarray:
    """Orthogonal matrix [n, n]: D_ki = sqrt((1 if k = 0 else 2) / n) cos(π k (2 i + 1) / (2 n))."""
    k, i = np.arange(n)[:, None], np.arange(n)[None, :]
    return np.sqrt(np.where(k == 0, 1.0, 2.0) / n) * np.cos(np.pi * k * (2 * i + 1) / (2 * n))
