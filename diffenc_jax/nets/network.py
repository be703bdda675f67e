"""Base classes of the networks that a configuration names, and the network of codes."""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import POSITIVE, key
from diffenc_jax.nets.blocks import Head
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.embeddings import HIGHEST, PUBLISHED_SCALE


class Network(nn.Module, kw_only=True):
    """Base class of networks (x [B, ..., C], time [B], dropout key, condition [B, K]) -> [B, ..., outputs · C].

    Time lies in [0, 1]. Without a dropout key there is no dropout. The output is float32 and zero at initialisation. A
    subclass defines `__call__`. Its fields that are defined with `key` are keys of the configuration.

    Attributes:
      compute: how the network is computed.
      bin_width: unit of the periods of Fourier features, `Decoder.bin_width`.
      outputs: number of images that the network returns, concatenated along the channels; 1 unless it `takes_outputs`.
      conditions: number K of the inputs of a condition, see `embeddings.TimeEmbedding`; 0 unless it `takes_condition`.
      takes_outputs, takes_condition: whether the network supports other values of `outputs` and `conditions`.
    """

    compute: Compute = Compute()
    bin_width: float = 2 / 256
    outputs: int = 1
    conditions: int = 0

    takes_outputs: ClassVar[bool] = True
    takes_condition: ClassVar[bool] = True

    def check(self, path: str, shape: tuple[int, ...]) -> None:
        """Raise InputError, naming keys of `path`, if the network cannot be built for data of `shape`."""


def periods(unit: str) -> Any:
    """The key of the periods of Fourier features, in this unit (`Decoder.bin_width`)."""
    return key(doc=f"Periods of the Fourier features appended to the input, in {unit}; or ().", limits=POSITIVE)


def time_scale() -> Any:
    """The key of the fastest wave among those that tell a network the time."""
    doc = "Radians by which the fastest wave of the time turns from one end of the schedule to the other; with fewer, "
    return key(PUBLISHED_SCALE, f"{doc}an ODE takes longer steps.", limits=POSITIVE)


def check_positions(path: str, shape: tuple[int, ...]) -> None:
    """Raise InputError unless `shape` is that of images or series, for a network whose section is `path`."""
    is_for = f"this {path}.kind is for images [N, H, W, C] and series [N, L, C], and these are vectors"
    advice = f"save series of one channel as x[:, :, None]; or take an arm for vectors, such as vdm, or {path}.kind=mlp"
    require(len(shape) > 1, f"{is_for} [N, {shape[0]}]; {advice}")


def as_image(x: jax.Array) -> jax.Array:
    """Images [B, H, W, C] as they are, and series [B, L, C] as [B, L, 1, C]."""
    return x[:, :, None] if x.ndim == 3 else x


class ScoreNetwork(Network, kw_only=True):
    """Base class of networks that can be the score network.

    Score networks also take `with_heads`. If it is true, they return the pair (output, outputs of the heads by name);
    otherwise they do not compute the heads.

    Attributes:
      extra_heads: names of the additional heads on the last features; see `blocks.Head`.
    """

    extra_heads: tuple[str, ...] = ()

    def finish(self, h, cond, output, make_block, hidden_shape, dropout_key, with_heads) -> Any:
        """The result of `__call__` from the last features h; the other arguments are those of `Head`."""
        out = output(h, cond)
        if not (with_heads or self.is_initializing()):
            return out
        head = partial(Head, make_block, output, self.dropout)
        heads = {name: head(name=name)(h, cond, hidden_shape, dropout_key) for name in self.extra_heads}
        return (out, heads) if with_heads else out


class CodeNetwork(nn.Module):
    """x [B, ...] -> logits [B, units], linear in x + trunk(x), float32.

    Attributes:
      trunk: a network of images and times with output zero at initialisation; it is called at time 0.
      units: number of logits.
    """

    trunk: nn.Module
    units: int

    @nn.compact
    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        seen = x + self.trunk(x, jnp.zeros(len(x), x.dtype), dropout_key)
        return nn.Dense(self.units, precision=HIGHEST, name="logits")(seen.reshape(len(x), -1))
