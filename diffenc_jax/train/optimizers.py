"""Optimizers, and the schedules of the learning rate."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from diffenc_jax.config.sections import TrainConfig
from diffenc_jax.core import parts
from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import FRACTION, POSITIVE, at_least, key
from diffenc_jax.model import Params

Decayed = Callable[[Params], Params]
Transformation: TypeAlias = optax.GradientTransformation
MASKS = "mask", "weight_decay_mask"  # parameters by which functions such as optax.lion take a `Decayed`


@dataclass(frozen=True)
class Optimizer(ABC):
    """Base class of the optimizers.

    A part of the kind "optimizer" is a subclass, whose fields are its keys, or a function of the learning rate's
    schedule that returns an optax transformation, such as optax.adabelief. A function with one of the parameters
    `MASKS` is given `decayed` by it.

    Attributes:
      stays_finite: whether finite gradients always have finite updates and a finite state of the optimizer. Otherwise
        each step checks them.
    """

    stays_finite: ClassVar[bool] = False

    @abstractmethod
    def transformation(self, rate: optax.Schedule, decayed: Decayed, mesh: Mesh | None) -> Transformation:
        """The optimizer.

        Args:
          rate: the learning rate as a function of the number of finished steps.
          decayed: tree of parameters -> tree of booleans, True where weight decay applies.
          mesh: the devices; None for one.
        """


@dataclass(frozen=True)
class AdamW(Optimizer):
    """AdamW (arXiv 1711.05101, algorithm 2), as published for VDM and DiffEnc; without weight decay, Adam."""

    stays_finite = True  # a gradient whose square overflows has an infinite norm

    b1: float = key(0.9, "Decay rate of the first moment.", limits=FRACTION)
    b2: float = key(0.99, "Decay rate of the second moment.", limits=FRACTION)
    epsilon: float = key(1e-8, "Number that is added to the root of the second moment.", limits=POSITIVE)
    weight_decay: float = key(0.01, "Weight decay, on networks except their biases.", limits=at_least(0))

    def transformation(self, rate: optax.Schedule, decayed: Decayed, mesh: Mesh | None) -> Transformation:
        return optax.adamw(rate, self.b1, self.b2, self.epsilon, weight_decay=self.weight_decay, mask=decayed)


def make_optimizer(config: TrainConfig, decayed: Decayed, mesh: Mesh | None = None) -> Transformation:
    """The optimizer of a training; see `Optimizer.transformation`.

    Raises InputError if it cannot be built, or if its learning rate falls to 0 before the warm-up ends.
    """
    kind = config.optimizer.kind
    part = parts.load("optimizer", kind)
    if isinstance(part, type) and issubclass(part, Optimizer):
        optimizer = part(**parts.options("optimizer", kind, config.optimizer.options))
        return optimizer.transformation(learning_rate(config), decayed, mesh)
    masks = {name: decayed for name in MASKS if name in inspect.signature(part).parameters}
    made = part(learning_rate(config), **masks)
    fits = isinstance(made, optax.GradientTransformation)
    require(fits, f"train.optimizer.kind={kind} must return an optax.GradientTransformation, not {type(made).__name__}")
    return made


def with_rates_at(state: Any, step: jax.Array) -> Any:
    """The state of an optimizer with the schedules of its rates at `step`, which counts skipped steps as well."""

    def moved(part: Any) -> Any:
        return part._replace(count=step) if isinstance(part, optax.ScaleByScheduleState) else part

    return jax.tree.map(moved, state, is_leaf=lambda part: isinstance(part, optax.ScaleByScheduleState))


def learning_rate(config: TrainConfig) -> optax.Schedule:
    """The learning rate as a function of the number of finished steps.

    It rises linearly over the W steps of `train.warmup_steps`. s steps later it is `train.learning_rate` times a factor
    that `train.learning_rate_schedule` chooses:
      constant  1, as published,
      cosine    (1 + cos(π s / S)) / 2, which is 0 after the S = `train.steps` - W other steps,
      linear    1 - s / S,
      rsqrt     √(W / (W + s)), with 1 for W = 0.
    """
    warmup, rest = config.warmup_steps, config.steps - config.warmup_steps
    first = 0.0 if warmup else config.learning_rate  # without a warm-up, optax keeps the first rate
    rising = optax.warmup_constant_schedule(first, config.learning_rate, warmup)
    if config.learning_rate_schedule == "constant":
        return rising
    if config.steps_decide_rates:
        require(rest > 0, f"train.warmup_steps={warmup} must be less than train.steps={config.steps}")
    falling = {
        "cosine": optax.cosine_decay_schedule(1.0, max(rest, 1)),
        "linear": optax.linear_schedule(1.0, 0.0, rest),
        "rsqrt": lambda s: jnp.sqrt(max(warmup, 1) / (max(warmup, 1) + s)),
    }[config.learning_rate_schedule]
    return lambda step: rising(step) * falling(jnp.maximum(step - warmup, 0))


def ema_decay(config: TrainConfig, step: jax.Array) -> jax.Array | float:
    """Decay rate of the averaged parameters, after `step` finished steps.

    With `train.ema_warmup` it is at most (1 + n) / (10 + n) for step n, so that an average over the first steps
    forgets the initial parameters.
    """
    return jnp.minimum(config.ema_decay, (1 + step) / (10 + step)) if config.ema_warmup else config.ema_decay
