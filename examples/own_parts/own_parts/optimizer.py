"""An optimizer with settings of its own."""

from dataclasses import dataclass

import optax

from diffenc_jax.core.keys import FRACTION, at_least, key
from diffenc_jax.train.optimizers import Optimizer


@dataclass(frozen=True)
class Nesterov(Optimizer):
    """AdamW with Nesterov's momentum (Dozat, 2016)."""

    b1: float = key(0.95, "Decay rate of the first moment.", limits=FRACTION)
    b2: float = key(0.99, "Decay rate of the second moment.", limits=FRACTION)
    weight_decay: float = key(0.01, "Weight decay, on networks except their biases.", limits=at_least(0))

    def transformation(self, rate, decayed, mesh):
        return optax.nadamw(rate, self.b1, self.b2, weight_decay=self.weight_decay, mask=decayed)
