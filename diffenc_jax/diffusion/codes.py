"""Latent codes: a discrete latent of each image, on which the networks and the noise schedule depend.

MuLAN (arXiv 2312.13236) gives each image a code c of n binary units, k of which are 1. With the uniform prior
p(c) = 1/C(n, k) and a code c(x) that is a function of the image,

  p(x) = Σ_c p(c) p(x | c) >= p(c(x)) p(x | c(x)),   -ln p(x) <= ln C(n, k) + bound of -ln p(x | c(x)).

So the code costs ln C(n, k) nats whatever it says, and that is part of the bound: log2 C(50, 15) = 41 bits for the code
of the paper. In training the code is drawn, see `KHot.drawn`; the entropy of that draw is not subtracted, so that the
loss remains above the bound.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffenc_jax.core.errors import require
from diffenc_jax.core.streams import draw_each, uniform

Logits = Float[Array, "b n"]
Code = Float[Array, "b n"]


@dataclass(frozen=True)
class KHot:
    """Codes of `units` units, of which `active` are 1 and the others 0.

    Attributes:
      units: number n of units of an image's code.
      active: number k of units that are 1.
    """

    units: int
    active: int

    def __post_init__(self) -> None:
        require(
            0 < self.active < self.units,
            f"model.code.active={self.active} of model.code.units={self.units} units makes no code; take from 1 to "
            f"{max(self.units - 1, 1)}",
        )

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

        Its gradient is that of sigmoid(perturbed - threshold), with the threshold half way between the k-th largest and
        the next one: a straight-through estimator (arXiv 1308.3432; for Gumbel noise, arXiv 1611.01144).
        """
        perturbed = logits - jnp.log(-jnp.log(jnp.maximum(uniform(key, logits.shape), 1e-20)))
        top = jax.lax.top_k(perturbed, self.active + 1)[0]
        soft = jax.nn.sigmoid(perturbed - 0.5 * (top[:, -2:-1] + top[:, -1:]))
        return self.best(perturbed) + soft - jax.lax.stop_gradient(soft)

    def prior(self, keys: jax.Array, place: int) -> Code:
        """Draws from the uniform prior: those of each key [B], with `place` folded in."""
        return self.best(draw_each(uniform, keys, place, (self.units,)))
