"""The state of a training run between two steps, with its metrics and its past losses by time."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import flax
import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.diffusion.losses import TERMS
from diffenc_jax.diffusion.times import TimeDensity, best_mass
from diffenc_jax.model import Params
from diffenc_jax.parallel import hosts
from diffenc_jax.train.gradients import StepOutputs

QUARTERS = 4
# The density of times is constant on each of CELLS cells of [0, 1).
CELLS = 32
# After MEMORY steps an observation has the weight 1/e.
MEMORY = 50


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


@flax.struct.dataclass
class LossHistory:
    """Exponentially weighted sums over past steps of the diffusion term, by cell of t. Part of the training state.

    Attributes:
      squares: [CELLS] sum of squared diffusion terms, nats².
      examples: [CELLS] number of diffusion terms.
    """

    squares: jax.Array
    examples: jax.Array

    @classmethod
    def empty(cls) -> "LossHistory":
        return cls(jnp.zeros(CELLS, jnp.float32), jnp.zeros(CELLS, jnp.float32))

    def density(self) -> TimeDensity:
        """The density that minimises the variance of the estimated loss (`best_mass`).

        It is uniform as long as a cell has no examples.
        """
        complete = jnp.all(self.examples > 0)
        return TimeDensity(best_mass(jnp.where(complete, self.squares / jnp.maximum(self.examples, 1e-30), 1.0)))

    def plus(self, t: jax.Array, nats: jax.Array) -> "LossHistory":
        """The sums with one step's unweighted diffusion terms `nats` [B] at times `t` [B] added."""
        in_cell = jnp.floor(t * CELLS)[None, :] == jnp.arange(CELLS)[:, None]
        decay = jnp.exp(-1.0 / MEMORY)
        squares = decay * self.squares + jnp.where(in_cell, jnp.square(nats), 0.0).sum(axis=1)
        return LossHistory(squares, decay * self.examples + in_cell.sum(axis=1))


@flax.struct.dataclass
class TrainState:
    """Everything that a step reads and writes; a checkpoint holds it whole.

    Attributes:
      step: int32 [], number of finished steps.
      params: the model's parameters.
      ema: exponential moving average of `params`, which evaluation and sampling use.
      opt_state: state of the optimizer.
      meter: sums of the metrics since the last log, after which the loop restarts it.
      losses: past losses by time, for importance sampling of times; None if times are uniform.
    """

    step: jax.Array
    params: Params
    ema: Params
    opt_state: Any
    meter: Meter
    losses: LossHistory | None

    def is_finite(self) -> bool:
        """Whether parameters and averages are finite, and the optimizer's state has no NaN. Every host must call this.

        An optimizer may hold infinities, such as a best loss so far. The arrays are looked at on the hosts, which
        compiles nothing.
        """
        bad = any(not np.isfinite(part).all() for part in _parts((self.params, self.ema)))
        bad = bad or any(np.isnan(part).any() for part in _parts(self.opt_state))
        return not hosts.elementwise_max(np.asarray(bad))

    def restarted(self) -> Self:
        """The state with a meter of no steps."""
        return self.replace(  # type: ignore[attr-defined]
            meter=jax.tree.map(jnp.zeros_like, self.meter)
        )


def _parts(tree: Any) -> Iterator[np.ndarray]:
    """The parts of a tree's arrays of real or complex numbers that this host holds."""
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            yield from (np.asarray(shard.data) for shard in leaf.addressable_shards if shard.replica_id == 0)
