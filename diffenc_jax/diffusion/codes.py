"""Latent codes: a discrete latent of each image, on which the networks and the noise schedule depend.

MuLAN (arXiv 2312.13236) gives each image a code c of n binary units, k of which are 1. With the uniform prior
p(c) = 1/C(n, k) and a code c(x) that is a function of the image,

  p(x) = Σ_c p(c) p(x | c) >= p(c(x)) p(x | c(x)),   -ln p(x) <= ln C(n, k) + bound of -ln p(x | c(x)).

Every code costs ln C(n, k) nats, and this cost is part of the bound: log2 C(50, 15) = 41 bits for the paper's code. In
training the code is drawn, see `KHot.drawn`. The entropy of the draw is not subtracted, so the loss remains above the
bound.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import key
from diffenc_jax.core.streams import draw_each, uniform

Logits = Float[Array, "b n"]
Code = Float[Array, "b n"]


class LatentCode:
    """Base class of codes. A subclass defines everything below.

    Codes are frozen dataclasses. Fields that are made by `core.keys.key` are keys of a configuration.

    Attributes:
      units: number n of units of an image's code; 0 for no code.
      network: module x [B, H, W, C] -> logits [B, n]; None if no logits are computed.
      network_kind: name of the network behind the logits; "" for none.
    """

    network_kind: ClassVar[str] = "unet"

    units: int
    network: Any

    @property
    def nats(self) -> float:
        """Cost of a code in nats per example."""
        raise NotImplementedError

    def best(self, logits: Logits) -> Code:
        """The code c(x) of an image with these logits."""
        raise NotImplementedError

    def drawn(self, logits: Logits, key: jax.Array) -> Code:
        """A code drawn as in training, with a gradient."""
        raise NotImplementedError

    def prior(self, keys: jax.Array, index: int) -> Code:
        """One draw from the prior per key [B], with `index` folded into the key."""
        raise NotImplementedError


@dataclass(frozen=True)
class NoCode(LatentCode):
    """No code."""

    network_kind: ClassVar[str] = ""

    units: int = 0
    network: Any = None


@dataclass(frozen=True)
class KHot(LatentCode):
    """Codes of n units: k of them are 1, the others 0."""

    units: int = key(doc="Number n of units of an image's code.")
    active: int = key(doc="Number k of units that are 1.")
    network: Any = None

    def __post_init__(self) -> None:
        given = f"model.code.active={self.active} of model.code.units={self.units} units"
        require(0 < self.active < self.units, f"{given} makes no code; take from 1 to {max(self.units - 1, 1)}")

    @property
    def nats(self) -> float:
        """ln C(n, k), the cost of a code in nats per example."""
        return math.log(math.comb(self.units, self.active))

    def best(self, logits: Logits) -> Code:
        """The code c(x): 1 for the units of the k largest logits."""
        chosen = jax.lax.top_k(logits, self.active)[1]
        return jax.nn.one_hot(chosen, self.units, dtype=logits.dtype).sum(axis=1)

    def drawn(self, logits: Logits, key: jax.Array) -> Code:
        """The code of the logits plus Gumbel noise: k units drawn one after another without replacement, by softmax.

        The gradient is the gradient of sigmoid(perturbed - threshold), where the threshold lies half way between the
        k-th largest value and the next one: a straight-through estimator (arXiv 1308.3432; for Gumbel noise, arXiv
        1611.01144).
        """
        perturbed = logits - jnp.log(-jnp.log(jnp.maximum(uniform(key, logits.shape), 1e-20)))
        top = jax.lax.top_k(perturbed, self.active + 1)[0]
        soft = jax.nn.sigmoid(perturbed - 0.5 * (top[:, -2:-1] + top[:, -1:]))
        return self.best(perturbed) + soft - jax.lax.stop_gradient(soft)

    def prior(self, keys: jax.Array, index: int) -> Code:
        """One draw from the uniform prior per key [B], with `index` folded into the key."""
        return self.best(draw_each(uniform, keys, index, (self.units,)))
