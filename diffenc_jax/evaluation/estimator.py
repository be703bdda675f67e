"""The base classes of estimators and of samplers, and the random keys from which an image's noise is drawn."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple, Self

import jax
import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.config.sections import LossConfig
from diffenc_jax.core import parts
from diffenc_jax.core.streams import stream
from diffenc_jax.data.images import Batch
from diffenc_jax.evaluation.fit import Fit, check_fit, fit_description, steps_for
from diffenc_jax.model import Params
from diffenc_jax.runs.experiment import Experiment

# Arrays other than the parameters that the values depend on: steps, or tables fitted on training images.
Tables = dict[str, jax.Array]


class Pass(NamedTuple):
    """A batch of images in one pass of an evaluation.

    Attributes:
      params: the parameters.
      tables: what `Estimator.tables` returned for them.
      batch: the images.
      indices: [B] the images' places in their split.
      number: number of the pass, from 0.
    """

    params: Params
    tables: Tables
    batch: Batch
    indices: jax.Array
    number: int | np.integer


class Method(ABC):
    """A part that a configuration names beside the model: an estimator, or a sampler.

    Attributes:
      kind: its kind among the parts, see `core.parts.kinds`.
      experiment: the model and the configuration.
    """

    kind: ClassVar[str]

    @dataclass(frozen=True)
    class Options:
        """Keys of the method, in `eval.options` or `sample.options`; fields that are made by `core.keys.key`."""

    def __init__(self, experiment: Experiment):
        """Raises InputError if the method does not suit the model or the data."""
        self.experiment = experiment

    @classmethod
    def chosen(cls, config: Config) -> tuple[type[Self], Any]:
        """The method of this kind that `config` names, and the checked values of its keys; raises InputError."""
        kind = parts.kinds()[cls.kind]
        name, values = attrgetter(kind.name_key, kind.section)(config)
        method = parts.load(cls.kind, name)
        return method, method.Options(**parts.options(cls.kind, name, values.options))

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """The method that the configuration names; raises InputError if it does not suit the model or the data."""
        return cls.chosen(experiment.config)[0](experiment)

    @cached_property
    def options(self) -> Any:
        """The values of its keys, an object of its `Options`."""
        return self.chosen(self.experiment.config)[1]

    @staticmethod
    def needs_training_images(config: Config) -> bool:
        """Whether something is fitted on training images."""
        return False

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in file names."""


class Estimator(Method):
    """An estimator of the nats per image, evaluated in several passes over the images.

    Attributes:
      terms: names of the values that add up to an image's nats.
      diagnostic_formats: format strings of the values that `diagnostics` returns, by name.
      passes: number of evaluations per image.
      is_exact: whether it has no noise.
    """

    kind = "estimator"
    terms: tuple[str, ...]
    diagnostic_formats: ClassVar[Mapping[str, str]] = {}
    is_exact: bool = False

    def __init__(self, experiment: Experiment):
        super().__init__(experiment)
        self.passes = experiment.config.eval.passes

    @property
    def replicates(self) -> int | None:
        """Number of independent groups of passes; pass p belongs to group p mod replicates. None for one pass."""
        return self.passes if self.passes > 1 else None

    def describe(self) -> dict[str, Any]:
        """The record's 'estimator': everything that the values depend on, except for parameters and images."""
        return {"passes": self.passes, "replicates": self.replicates, "seed": self.experiment.config.eval.seed}

    def tables(self, params: Params) -> Tables:
        """Tables to compute once, before the first image."""
        return {}

    @abstractmethod
    def estimate(self, given: Pass) -> dict[str, jax.Array]:
        """Values [B] by name, the `terms` in nats among them.

        An image's values depend only on its pixels, its label where the model is conditioned on it, and (seed, index,
        pass), not on its batch.
        """

    def diagnostics(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        """Additional entries of the record, from all values [passes, images] by name."""
        return {}


class StepsEstimator(Estimator):
    """An estimator of the generative model at a depth, finite or infinite, whose tables are the model's steps.

    Attributes:
      loss: depth, variance ratio and times of the steps.
      fit: of whose fitted steps those of `loss` are; None to make it when it is needed.
    """

    def __init__(self, experiment: Experiment, loss: LossConfig | None = None, fit: Fit | None = None):
        """Raises InputError if `config.fit` is needed and does not suit the data or the devices.

        Args:
          loss: `model.loss` by default.
        """
        super().__init__(experiment)
        self.loss, self.fit = loss or experiment.model.loss, fit
        if self.loss.is_fitted:
            check_fit(experiment)

    @staticmethod
    def needs_training_images(config: Config) -> bool:
        return config.loss.is_fitted

    def describe(self) -> dict[str, Any]:
        loss = self.loss
        description = {**super().describe(), "depth": loss.depth, "variance_ratio": loss.variance_ratio}
        if loss.depth is not None:
            description |= {"extrapolation": loss.extrapolation, "times": loss.times}
        return description | ({"fit": fit_description(self.experiment)} if loss.is_fitted else {})

    def tables(self, params: Params) -> Tables:
        """The steps' arrays by name; none at infinite depth."""
        if self.loss.depth is None:
            return {}
        steps = self.fit.steps(self.loss) if self.fit else steps_for(self.experiment, params, self.loss)
        return steps.to_arrays()


def image_keys(seed: Any, indices: jax.Array, group: int | jax.Array) -> jax.Array:
    """Keys [B] of the images at `indices` [B] of their split, in one pass or one group of passes."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(seed, "eval"), indices)
    return jax.vmap(jax.random.fold_in, (0, None))(keys, group)
