"""Training metrics: sums kept on the device until the loop restarts them, divided once."""

import math
from collections.abc import Sequence

import flax
import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.diffusion.losses import TERMS
from diffenc_jax.train.gradients import StepOutputs

QUARTERS = 4


@flax.struct.dataclass
class Meter:
    """Sums over the steps since a restart. Part of the state, so that a resumed run logs the same values.

    Attributes:
      steps: [] number of steps.
      terms: [3] batch means of the terms, bits/dim.
      heads: [] batch means of the losses of additional heads per dimension, by name; see `Terms.head_losses`.
      quarter: [4] weighted sum of the examples' diffusion terms per quarter of t, bits/dim.
      quarter_examples: [4] sum of the examples' weights per quarter of t.
      grad_norm: [] global norm of the gradient.
    """

    steps: jax.Array
    terms: jax.Array
    heads: dict[str, jax.Array]
    quarter: jax.Array
    quarter_examples: jax.Array
    grad_norm: jax.Array

    @classmethod
    def empty(cls, heads: Sequence[str] = ()) -> "Meter":
        """No steps, of a model with the head losses `heads`."""
        zeros = lambda *shape: jnp.zeros(shape, jnp.float32)  # noqa: E731
        losses = {name: zeros() for name in heads}
        return cls(zeros(), zeros(len(TERMS)), losses, zeros(QUARTERS), zeros(QUARTERS), zeros())

    @classmethod
    def of_step(cls, outputs: StepOutputs, dims: int, grad_norm: jax.Array) -> "Meter":
        """The sums of one step on a global batch of images with `dims` dimensions."""
        nats = outputs.terms.weighted(outputs.weight)
        bits = jax.tree.map(lambda term: term / (dims * math.log(2)), nats)
        in_quarter = jnp.floor(outputs.t * QUARTERS)[None, :] == jnp.arange(QUARTERS)[:, None]
        return cls(
            steps=jnp.ones((), jnp.float32),
            terms=jnp.stack([getattr(bits, name).mean() for name in TERMS]),
            heads={name: loss.mean() / dims for name, loss in nats.head_losses.items()},
            quarter=jnp.sum(jnp.where(in_quarter, bits.diffusion, 0.0), axis=1),
            quarter_examples=jnp.sum(jnp.where(in_quarter, outputs.weight, 0.0), axis=1),
            grad_norm=grad_norm,
        )

    def plus(self, other: "Meter", counts: jax.Array | bool = True) -> "Meter":
        """`self` + `other`, which is left out unless it `counts`."""
        return jax.tree.map(lambda a, b: a + jnp.where(counts, b, 0), self, other)

    def scalars(self) -> dict[str, float]:
        """Averages by the names that they have in metrics.jsonl; empty without steps.

        'bpd', its terms and 'diffusion_quarter_1' ... '_4' are in bits/dim, the losses of heads per dimension.
        """
        if not self.steps:
            return {}
        steps = float(self.steps)
        terms = np.asarray(self.terms, np.float64) / steps
        quarters = np.asarray(self.quarter, np.float64) / np.maximum(self.quarter_examples, 1e-9)
        return {
            "bpd": float(terms.sum()),
            **dict(zip(TERMS, terms.tolist(), strict=True)),
            **{name: float(loss) / steps for name, loss in self.heads.items()},
            **{f"diffusion_quarter_{i + 1}": value for i, value in enumerate(quarters.tolist())},
            "grad_norm": float(self.grad_norm) / steps,
        }
