"""The state of a training run between two steps."""

from typing import Any, Self

import flax
import jax
import jax.numpy as jnp

from diffenc_jax.model import Params
from diffenc_jax.train.loss_history import LossByTime
from diffenc_jax.train.meter import Meter


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
    losses: LossByTime | None

    def restarted(self) -> Self:
        """The state with a meter of no steps."""
        return self.replace(  # type: ignore[attr-defined]
            meter=jax.tree.map(jnp.zeros_like, self.meter)
        )
