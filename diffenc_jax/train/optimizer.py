"""AdamW after a linear warm-up, as published (arXiv 2107.00630, arXiv 2310.19789)."""

from dataclasses import dataclass
from typing import Any

import jax
import optax

from diffenc_jax.config import require
from diffenc_jax.diffusion.times import TIME_SAMPLING
from diffenc_jax.errors import lookup

ON_NONFINITE = ("stop", "skip")


@dataclass(frozen=True)
class TrainConfig:
    """`config.train`: how long, on how much at a time, in how many parts, and the optimizer's numbers.

    `ends_every`: of how many images one has its end points looked at. `time_sampling`: 'uniform', or 'importance', by a
    density that follows the loss; nothing is biased by either. `on_nonfinite`: 'stop' at a loss or gradient that is not
    finite, or 'skip' the step.
    """

    steps: int
    batch_size: int
    accumulate: int
    ends_every: int
    time_sampling: str
    on_nonfinite: str
    learning_rate: float
    warmup_steps: int
    b1: float
    b2: float
    epsilon: float
    weight_decay: float
    ema_decay: float

    def __post_init__(self):
        require(self.steps >= 1, f"train.steps must be at least 1, not {self.steps}")
        require(self.accumulate >= 1, f"train.accumulate must be at least 1, not {self.accumulate}")
        require(self.ends_every >= 1, f"train.ends_every must be at least 1, not {self.ends_every}")
        lookup("train.time_sampling", self.time_sampling, dict.fromkeys(TIME_SAMPLING))
        lookup("train.on_nonfinite", self.on_nonfinite, dict.fromkeys(ON_NONFINITE))
        require(self.learning_rate > 0, f"train.learning_rate must be positive, not {self.learning_rate}")
        require(self.warmup_steps >= 0, f"train.warmup_steps must not be negative, but is {self.warmup_steps}")
        require(self.epsilon > 0, f"train.epsilon must be positive, not {self.epsilon}")
        require(self.weight_decay >= 0, f"train.weight_decay must not be negative, but is {self.weight_decay}")
        for name in ("b1", "b2", "ema_decay"):
            value = getattr(self, name)
            require(0 <= value < 1, f"train.{name} must lie in [0, 1), not {value}")


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """AdamW; weight decay on everything but biases."""
    return optax.adamw(
        optax.warmup_constant_schedule(0.0, config.learning_rate, config.warmup_steps),
        b1=config.b1,
        b2=config.b2,
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        mask=_decays,
    )


def _decays(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key != "bias", params)
