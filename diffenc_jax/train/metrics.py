"""What training reports: sums kept on the device since the last log, divided once."""

import math
from dataclasses import dataclass

import flax
import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config import require
from diffenc_jax.diffusion.losses import Terms

QUARTERS = 4


@dataclass(frozen=True)
class LogConfig:
    """How often metrics are averaged and written."""

    every_steps: int

    def __post_init__(self):
        require(self.every_steps >= 1, f"log.every_steps must be at least 1, not {self.every_steps}")


@flax.struct.dataclass
class Meter:
    """Sums over steps. It is part of the state, so that a resumed run logs what an unbroken one logs.

    Attributes:
      steps: [] number of steps.
      terms: [3] bits/dim by term, averaged over the batch; with a second head, its mean squared error is a fourth.
      quarter: [4] weighted sum of the examples' diffusion bits/dim by quarter of t, and
      quarter_examples: [4] their number, weighted too.
      grad_norm: [] global norm of the gradient.
    """

    steps: jax.Array
    terms: jax.Array
    quarter: jax.Array
    quarter_examples: jax.Array
    grad_norm: jax.Array

    @classmethod
    def empty(cls, derivative: bool = False) -> "Meter":
        shapes = (), (4 if derivative else 3,), (QUARTERS,), (QUARTERS,), ()
        return cls(*(jnp.zeros(shape, jnp.float32) for shape in shapes))

    @classmethod
    def of_step(
        cls,
        terms: Terms,
        t: jax.Array,
        weight: jax.Array,
        dims: int,
        grad_norm: jax.Array,
        derivative: jax.Array | None = None,
    ) -> "Meter":
        """One step's sums from the global batch's nats by term, [B], at the end points maybe fewer, and its times [B].

        `weight`: [B] of the diffusion terms. `derivative`: with a second head, its squared errors [B], summed over the
        dimensions.
        """
        bits = jax.tree.map(lambda nats: nats / (dims * math.log(2)), terms.weighted(weight))
        averages = jnp.stack(bits.means())
        if derivative is not None:
            averages = jnp.append(averages, jnp.mean(weight * derivative) / dims)
        in_quarter = jnp.floor(t * QUARTERS)[None, :] == jnp.arange(QUARTERS)[:, None]
        return cls(
            steps=jnp.ones((), jnp.float32),
            terms=averages,
            quarter=jnp.sum(jnp.where(in_quarter, bits.diffusion, 0.0), axis=1),
            quarter_examples=jnp.sum(jnp.where(in_quarter, weight, 0.0), axis=1),
            grad_norm=grad_norm,
        )

    def plus(self, other: "Meter", restart: jax.Array, counts: jax.Array | bool = True) -> "Meter":
        """The sum, without `self` where `restart` holds, and without `other` unless it `counts`."""
        return jax.tree.map(lambda a, b: jnp.where(restart, 0, a) + jnp.where(counts, b, 0), self, other)

    def scalars(self) -> dict[str, float]:
        """Averages, under the names they have in metrics.jsonl and TensorBoard; bits/dim, but for 'derivative'.

        Without a step there are none.
        """
        if not self.steps:
            return {}
        averages = np.asarray(self.terms, np.float64) / float(self.steps)
        terms, derivative = averages[: len(Terms._fields)], averages[len(Terms._fields) :]
        quarters = np.asarray(self.quarter, np.float64) / np.maximum(self.quarter_examples, 1e-9)
        return {
            "bpd": float(terms.sum()),
            **{name: float(value) for name, value in zip(Terms._fields, terms, strict=True)},
            **({"derivative": float(derivative[0])} if len(derivative) else {}),
            **{f"diffusion_quarter_{i + 1}": float(value) for i, value in enumerate(quarters)},
            "grad_norm": float(self.grad_norm) / float(self.steps),
        }
