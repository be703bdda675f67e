"""All that a run is made of between two steps."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from diffenc_jax.model import Model
from diffenc_jax.streams import stream
from diffenc_jax.train.metrics import Meter


@flax.struct.dataclass
class TrainState:
    """step: int32 []; params and ema: the model's; opt_state: optax's; meter: sums since the last log."""

    step: jax.Array
    params: Any
    ema: Any
    opt_state: Any
    meter: Meter


def init_state(model: Model, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step; pure, so that it can be jitted or evaluated for its shapes."""
    params = model.init(stream(seed, "params"))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
        meter=Meter.empty(model.score.derivative),
    )
