"""A model of formulas in place of networks."""

from collections.abc import Callable
from dataclasses import dataclass

from diffenc_jax.config.sections import ENCODED, LossConfig
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.gaussian import velocity_from_velocity
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.reverse import linear
from diffenc_jax.diffusion.schedules import Schedule
from diffenc_jax.model import DataSpec, Model, Params
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.network import ScoreNetwork

NETWORK = ScoreNetwork(compute=Compute(scan=True))


@dataclass(frozen=True)
class FormulaModel(Model):
    """A model whose process is `process_of(params)`."""

    process_of: Callable[[Params], Process] = NotImplemented

    def bind(self, params, dropout_key=None, condition=None):
        return self.process_of(params)


def formula_model(spec: DataSpec, schedule: Schedule, encoder: Encoder, process_of: Callable[[Params], Process]):
    """A FormulaModel at infinite depth, without condition or dropout."""
    parts = encoder, Levels(spec.levels), velocity_from_velocity, linear, ENCODED, LossConfig()
    return FormulaModel(spec, schedule, NETWORK, *parts, process_of=process_of)
