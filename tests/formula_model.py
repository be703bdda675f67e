"""A model of formulas in place of networks, and the protocol by which code reads it or a `Model`."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol

import jax
from flax import linen as nn

from diffenc_jax.config.sections import LossConfig
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.steps import Place
from diffenc_jax.model import DataSpec, Model
from diffenc_jax.model.model import Params
from diffenc_jax.nets.compute import Compute


class Bindable(Protocol):
    """Protocol of the models whose gradients training computes and whose runs studies measure."""

    @property
    def spec(self) -> DataSpec: ...

    @property
    def schedule(self) -> nn.Module: ...

    @property
    def score(self) -> Any: ...

    @property
    def loss(self) -> LossConfig: ...

    @property
    def separate_losses(self) -> tuple[str, ...]: ...

    @property
    def estimates_slope(self) -> bool: ...

    def condition(self, params: Params, batch: Batch, dropout_key: jax.Array | None = None) -> jax.Array | None: ...

    def bind(
        self, params: Params, dropout_key: jax.Array | None = None, condition: jax.Array | None = None
    ) -> Process: ...

    def place(self, params: Params, t: jax.Array) -> Place: ...


@dataclass(frozen=True)
class FormulaModel:
    """A model at infinite depth whose process is `process_of(params)`, without condition or dropout."""

    spec: DataSpec
    schedule: nn.Module
    process_of: Callable[[Params], Process]
    estimates_slope: bool = False
    score: ClassVar = SimpleNamespace(compute=Compute(scan=True))
    loss: ClassVar = LossConfig()
    separate_losses: ClassVar = ()

    def condition(self, params: Params, batch: Batch, dropout_key: jax.Array | None = None) -> None:
        return None

    def bind(self, params: Params, dropout_key: jax.Array | None = None, condition: jax.Array | None = None) -> Process:
        return self.process_of(params)

    def place(self, params: Params, t: jax.Array) -> Place:
        return self.bind(params).instant(t)


# mypy checks that both satisfy the protocol.
MODELS: tuple[type[Bindable], ...] = Model, FormulaModel
