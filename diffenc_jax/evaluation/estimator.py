"""The base classes of estimators and of samplers, and the random keys from which an image's noise is drawn."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.config.sections import LossConfig
from diffenc_jax.core import parts
from diffenc_jax.core.errors import NotFinite
from diffenc_jax.core.streams import stream
from diffenc_jax.data.images import Batch
from diffenc_jax.evaluation.fit import Fit, check_fit, fit_description, steps_for
from diffenc_jax.model import Params
from diffenc_jax.runs.base import BaseRun

# Distance from the mean, in deviations, beyond which float32 does not resolve the noise of γ_0.
RESOLVED = 1e4
# Arrays other than the parameters that the values depend on: steps, or tables fitted on training images.
Tables = dict[str, jax.Array]


class Pass(NamedTuple):
    """A batch of images in one pass of an evaluation.

    Attributes:
      params: the parameters.
      tables: what `Estimator.tables` returned for them.
      batch: the images.
      indices: [B] the numbers that choose the images' noise: their places in their split.
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
      run: the model and the configuration.
      not_finite: part of a message: why a result is not finite although the parameters are, and what to do.
    """

    kind: ClassVar[str]
    not_finite: ClassVar[str] = "the networks overflow; take another checkpoint"

    @dataclass(frozen=True)
    class Options:
        """Keys of the method, in `eval.options` or `sample.options`; fields that are made by `core.keys.key`."""

    def __init__(self, run: BaseRun):
        """Raises InputError if the method does not suit the model or the data."""
        self.run = run

    @classmethod
    def chosen(cls, config: Config) -> tuple[type[Self], Any]:
        """The method of this kind that `config` names, and the checked values of its keys; raises InputError."""
        kind = parts.kinds()[cls.kind]
        name, values = attrgetter(kind.name_key, kind.section)(config)
        method = parts.load(cls.kind, name)
        return method, method.Options(**parts.options(cls.kind, name, values.options))

    @classmethod
    def of(cls, run: BaseRun) -> Self:
        """The method that the configuration names; raises InputError if it does not suit the model or the data."""
        return cls.chosen(run.config)[0](run)

    @cached_property
    def options(self) -> Any:
        """The values of its keys, an object of its `Options`."""
        return self.chosen(self.run.config)[1]

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in file names."""

    def check_finite(
        self, what: str, numbers: np.ndarray, results: np.ndarray, params: Params, *given: np.ndarray
    ) -> None:
        """Raise NotFinite, which names the first result that is not finite and the cause, if there is one.

        Args:
          what: what a number counts, such as "example {} of test".
          numbers: [B] the numbers of the results.
          results: [B] one number per example.
          given: standardised real numbers [B, ...] from which the results are computed.
        """
        wrong = np.flatnonzero(~np.isfinite(results))
        if not wrong.size:
            return
        first, cause = int(wrong[0]), self.not_finite
        largest = max((float(np.abs(array[first]).max()) for array in given), default=0.0)
        if largest > RESOLVED:
            cause = f"it reaches {largest:.3g} standard deviations from the mean; leave it out"
        if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params)):
            cause = "the parameters are not finite; take an earlier checkpoint"
        raise NotFinite(f"{what.format(numbers[first])} has {results[first]}: {cause}")


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

    def __init__(self, run: BaseRun):
        super().__init__(run)
        self.passes = run.config.eval.passes

    @property
    def replicates(self) -> int | None:
        """Number of independent groups of passes; pass p belongs to group p mod replicates. None for one pass."""
        return self.passes if self.passes > 1 else None

    def describe(self) -> dict[str, Any]:
        """The record's 'estimator': everything that the values depend on, except for parameters and images."""
        return {"passes": self.passes, "replicates": self.replicates, "seed": self.run.config.eval.seed}

    def tables(self, params: Params) -> Tables:
        """Tables to compute once, before the first image."""
        return {}

    @property
    def slow(self) -> str:
        """Part of a message: what makes it slow, and what to change."""
        return f"each example is computed {self.passes} times (eval.passes)"

    @abstractmethod
    def estimate(self, given: Pass) -> dict[str, jax.Array]:
        """Values [B] by name, the `terms` in nats among them.

        An image's values depend only on its pixels, its label where the model is conditioned on it, and (seed, index,
        pass), not on its batch.
        """

    def total(self, values: Mapping[str, np.ndarray | jax.Array]) -> np.ndarray:
        """The sum of the terms, nats, in float64, from values of any shape by name."""
        return np.sum([np.asarray(values[term], np.float64) for term in self.terms], axis=0)

    def numerical_errors(self, given: Pass, nats: np.ndarray) -> np.ndarray:
        """Errors of the `nats` [N] of the first N examples of a batch that are not noise, such as a solver's, [N].

        They are 0 where there are only errors by rounding, and NaN where they are unknown.
        """
        return np.zeros_like(nats)

    def diagnostics(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        """Additional entries of the record, from all values [passes, images] by name."""
        return {}


class StepsEstimator(Estimator):
    """An estimator of the generative model at a depth, finite or infinite, whose tables are the model's steps.

    Attributes:
      loss: depth, variance ratio and times of the steps.
      fit: of whose fitted steps those of `loss` are; None to make it when it is needed.
    """

    def __init__(self, run: BaseRun, loss: LossConfig | None = None, fit: Fit | None = None):
        """Raises InputError if `config.fit` is needed and does not suit the data or the devices.

        Args:
          loss: `model.loss` by default.
        """
        super().__init__(run)
        self.loss, self.fit = loss or run.model.loss, fit
        if self.loss.is_fitted:
            check_fit(run)

    def describe(self) -> dict[str, Any]:
        loss = self.loss
        description = {**super().describe(), "depth": loss.depth, "variance_ratio": loss.variance_ratio}
        if loss.depth is not None:
            description |= {"extrapolation": loss.extrapolation, "times": loss.times}
        return description | ({"fit": fit_description(self.run)} if loss.is_fitted else {})

    def tables(self, params: Params) -> Tables:
        """The steps' arrays by name; none at infinite depth."""
        if self.loss.depth is None:
            return {}
        steps = self.fit.steps(self.loss) if self.fit else steps_for(self.run, params, self.loss)
        return steps.to_arrays()


def image_keys(seed: Any, indices: jax.Array, group: int | jax.Array) -> jax.Array:
    """Keys [B] of the images at `indices` [B] of their split, in one pass or one group of passes."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(seed, "eval"), indices)
    return jax.vmap(jax.random.fold_in, (0, None))(keys, group)
