"""All that a run is made of between two steps."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from diffenc_jax.model import Model
from diffenc_jax.streams import stream
from diffenc_jax.train.metrics import Meter
from diffenc_jax.train.times import LossByTime


@flax.struct.dataclass
class TrainState:
    """All of it.

    Attributes:
      step: int32 [].
      params, ema: the model's, and their moving average.
      opt_state: optax's.
      meter: sums since the last log.
      losses: what importance-sampled times are drawn by; None where times are uniform.
    """

    step: jax.Array
    params: Any
    ema: Any
    opt_state: Any
    meter: Meter
    losses: LossByTime | None


def init_state(model: Model, optimizer: optax.GradientTransformation, seed: int, by_loss: bool = False) -> TrainState:
    """The state before the first step, with times drawn by loss or not; pure, so that its shapes can be had as well."""
    params = model.init(stream(seed, "params"))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
        meter=Meter.empty(model.score.derivative),
        losses=LossByTime.empty() if by_loss else None,
    )
