"""The state of a training run between two steps, with its metrics and its past losses by time."""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, Self

import flax
import jax
import jax.numpy as jnp
import numpy as np
from clu.metrics import Collection, Metric

from diffenc_jax.diffusion.losses import TERMS
from diffenc_jax.diffusion.times import best_mass
from diffenc_jax.model import Params
from diffenc_jax.parallel import hosts
from diffenc_jax.train.gradients import StepOutputs

QUARTERS = tuple(f"diffusion_quarter_{i}" for i in (1, 2, 3, 4))
# The density of times is constant on each of CELLS cells of [0, 1).
CELLS = 32
# After MEMORY steps an observation has the weight 1/e.
MEMORY = 50


@flax.struct.dataclass
class WeightedMean(Metric):
    """Weighted mean of a value over steps, as a metric of CLU.

    Attributes:
      total: [] weighted sum of the values.
      weight: [] sum of the weights, float32.
    """

    total: jax.Array
    weight: jax.Array

    @classmethod
    def empty(cls) -> "WeightedMean":
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

    def merge(self, other: "WeightedMean") -> "WeightedMean":
        return WeightedMean(self.total + other.total, self.weight + other.weight)

    def compute(self) -> float:
        return float(np.float64(self.total) / np.maximum(self.weight, 1e-9))


@cache
def meter_type(heads: tuple[str, ...]) -> type[Collection]:
    """Class of the metrics since the last log of a model with the head losses `heads`; see `metrics_of_step`."""
    names = *TERMS, *heads, *QUARTERS, "grad_norm"
    return Collection.create(**dict.fromkeys(names, WeightedMean))


def metrics_of_step(outputs: StepOutputs, dims: int, grad_norm: jax.Array, counts: jax.Array) -> Collection:
    """Metrics of one step on a global batch of images with `dims` dimensions, by the names in metrics.jsonl.

    The terms are in bits/dim, for all times and by quarter of t; the losses of additional heads are per dimension.

    Args:
      counts: bool [], whether the step counts. Otherwise its weight is 0, even if its values are NaN.
    """
    nats = outputs.terms.weighted(outputs.weight)
    bits = jax.tree.map(lambda term: term / (dims * math.log(2)), nats)
    in_quarter = jnp.floor(outputs.t * len(QUARTERS))[None, :] == jnp.arange(len(QUARTERS))[:, None]
    total, weight = (jnp.sum(jnp.where(in_quarter, x, 0.0), axis=1) for x in (bits.diffusion, outputs.weight))
    means = {name: getattr(bits, name).mean() for name in TERMS} | {"grad_norm": grad_norm}
    means |= {name: loss.mean() / dims for name, loss in nats.head_losses.items()}
    sums = {name: (mean, jnp.ones(())) for name, mean in means.items()}
    sums |= {name: (total[i], weight[i]) for i, name in enumerate(QUARTERS)}
    masked = jax.tree.map(lambda x: jnp.where(counts, x, 0).astype(jnp.float32), sums)
    return Collection.create_collection(**{name: WeightedMean(*pair) for name, pair in masked.items()})


def averages(meter: Collection) -> dict[str, float]:
    """The metrics by their names in metrics.jsonl, with 'bpd', the sum of the terms; empty if no step counts."""
    meter = jax.device_get(meter)
    if not meter.grad_norm.weight:
        return {}
    values = meter.compute()
    return {"bpd": sum(values[name] for name in TERMS), **values}


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

    def mass(self) -> jax.Array:
        """[CELLS] probability of the cells that minimises the variance of the estimated loss (`best_mass`).

        It is uniform as long as a cell has no examples.
        """
        complete = jnp.all(self.examples > 0)
        return best_mass(jnp.where(complete, self.squares / jnp.maximum(self.examples, 1e-30), 1.0))

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
      meter: the metrics since the last log, after which the loop restarts them.
      losses: past losses by time, for importance sampling of times; None if times are uniform.
    """

    step: jax.Array
    params: Params
    ema: Params
    opt_state: Any
    meter: Collection
    losses: LossHistory | None

    def is_finite(self) -> bool:
        """Whether parameters and averages are finite, and the optimizer's state has no NaN. Every host must call this.

        An optimizer may hold infinities, such as a best loss so far. The hosts read the arrays, so nothing is compiled.
        """
        bad = any(not np.isfinite(part).all() for part in _parts((self.params, self.ema)))
        bad = bad or any(np.isnan(part).any() for part in _parts(self.opt_state))
        return not hosts.elementwise_max(np.asarray(bad))

    def restarted(self) -> Self:
        """The state with empty metrics."""
        return self.replace(meter=jax.tree.map(jnp.zeros_like, self.meter))  # type: ignore[attr-defined]


def _parts(tree: Any) -> Iterator[np.ndarray]:
    """The parts of a tree's arrays of real or complex numbers that this host holds."""
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            yield from (np.asarray(shard.data) for shard in leaf.addressable_shards if shard.replica_id == 0)
