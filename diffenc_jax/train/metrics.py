"""What training reports: sums kept on the device since the last log, divided once."""

import math

import flax
import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.diffusion.losses import Terms

QUARTERS = 4


@flax.struct.dataclass
class Meter:
    """Sums over steps. It is part of the state, so that a resumed run logs what an unbroken one logs.

    Attributes:
      steps: [] number of steps.
      terms: [3] bits/dim by term, averaged over the batch.
      quarter: [4] sum of the examples' diffusion bits/dim by quarter of t, and
      quarter_examples: [4] their number.
      grad_norm: [] global norm of the gradient.
    """

    steps: jax.Array
    terms: jax.Array
    quarter: jax.Array
    quarter_examples: jax.Array
    grad_norm: jax.Array

    @classmethod
    def empty(cls) -> "Meter":
        zero = jnp.zeros(())
        return cls(zero, jnp.zeros(3), jnp.zeros(QUARTERS), jnp.zeros(QUARTERS), zero)

    @classmethod
    def of_step(cls, terms: Terms, t: jax.Array, dims: int, grad_norm: jax.Array) -> "Meter":
        """One step's sums from the global batch's nats [B] by term and its times [B]."""
        bits = jnp.stack(terms) / (dims * math.log(2))
        in_quarter = jnp.floor(t * QUARTERS)[None, :] == jnp.arange(QUARTERS)[:, None]
        return cls(
            steps=jnp.ones(()),
            terms=bits.mean(axis=1),
            quarter=jnp.sum(jnp.where(in_quarter, bits[2], 0.0), axis=1),
            quarter_examples=jnp.sum(in_quarter, axis=1, dtype=jnp.float32),
            grad_norm=grad_norm,
        )

    def plus(self, other: "Meter", restart: jax.Array) -> "Meter":
        """The sum; of `other` alone where `restart` holds."""
        return jax.tree.map(lambda a, b: jnp.where(restart, b, a + b), self, other)

    def scalars(self) -> dict[str, float]:
        """Averages, under the names they have in metrics.jsonl and TensorBoard; bits/dim throughout."""
        terms = np.asarray(self.terms, np.float64) / float(self.steps)
        quarters = np.asarray(self.quarter, np.float64) / np.maximum(self.quarter_examples, 1)
        return {
            "bpd": float(terms.sum()),
            **{name: float(value) for name, value in zip(Terms._fields, terms, strict=True)},
            **{f"diffusion_quarter_{i + 1}": float(value) for i, value in enumerate(quarters)},
            "grad_norm": float(self.grad_norm) / float(self.steps),
        }
