"""The path from noise to z_0, a batch at a time: by the generative model's steps, or along the probability flow."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.config.sections import ANCESTRAL, FLOW
from diffenc_jax.core.errors import lookup
from diffenc_jax.core.streams import gaussian_each
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.ancestral import ancestral
from diffenc_jax.diffusion.flow import METHOD, by_example, carry, flow_of
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.fit import check_fit, fit_description, steps_for
from diffenc_jax.evaluation.ode import check_solved, solver_of
from diffenc_jax.model import Model, Params
from diffenc_jax.parallel.mesh import batched, replicated
from diffenc_jax.runs.experiment import Experiment

# The loop over steps runs on the device in this many parts, between which signals are handled and frames are taken.
PARTS = 50
# Numbers folded into an image's key: NOISE for z_1, PIXELS for the draw of its pixels, STEPS + k for step k.
NOISE, PIXELS, STEPS = 0, 1, 2


class Wanted(NamedTuple):
    """Images that are to be drawn.

    Attributes:
      keys: [B] their random keys.
      labels: int32 [B] their classes; None for a model without labels.
    """

    keys: jax.Array
    labels: jax.Array | None = None

    def bind(self, model: Model, params: Params) -> Process:
        """The process that draws these images."""
        return model.bind(params, condition=model.condition(Batch(None, self.labels)))


class Stop(NamedTuple):
    """A point on the path: z [B, ...], and the share of the path since the previous stop."""

    z: jax.Array
    share: float


class Sampler(ABC):
    """A method of sampling z_0 from z_1. A sampler class is constructed from an `Experiment`."""

    @staticmethod
    def needs_training_images(config: Config) -> bool:
        """Whether something is fitted on training images."""
        return False

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the sampler in file names."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything that z_0 depends on, except for the parameters and the noise."""

    def prepare(self, params: Params) -> Any:
        """Compute once, before the first batch, what `walk` needs."""
        return None

    @abstractmethod
    def walk(self, params: Params, prepared: Any, wanted: Wanted, z_1: jax.Array) -> Iterator[Stop]:
        """Stops on the path from z_1 [B, ...] to z_0, the last one, of the images that are `wanted`."""


class Ancestral(Sampler):
    """`sample.depth` steps of the generative model, with the times and ratios that `config.loss` names."""

    def __init__(self, experiment: Experiment):
        """Raises InputError if the model or the data do not allow such steps."""
        model = experiment.model
        self._experiment = experiment
        self._loss = dataclasses.replace(model.loss, depth=experiment.config.sample.depth)
        model.check_depth("sample.depth", self._loss.depth)
        if self._loss.is_fitted:
            check_fit(experiment)

        @partial(jax.jit, out_shardings=batched(experiment.mesh))
        def advance(params, steps, wanted, z, span):
            noise = step_noise(wanted.keys, model.spec.shape)
            return ancestral(wanted.bind(model, params), steps, z, noise, *span)

        self._advance = advance

    @staticmethod
    def needs_training_images(config: Config) -> bool:
        return config.loss.is_fitted

    @property
    def name(self) -> str:
        return self._loss.name

    def stops(self, first: int = 0) -> list[int]:
        """The numbers of steps after which `walk` stops, counted from γ_1, beginning with `first` itself."""
        left = self._loss.depth - first
        parts = min(left, PARTS)
        return [first + left * part // parts for part in range(parts + 1)] if left else [first]

    def describe(self) -> dict[str, Any]:
        described = {"kind": ANCESTRAL, **dataclasses.asdict(self._loss)}
        return described | ({"fit": fit_description(self._experiment)} if self._loss.is_fitted else {})

    def prepare(self, params: Params) -> Steps:
        """The steps, fitted if `config.loss` asks for it."""
        return steps_for(self._experiment, params, self._loss)

    def walk(self, params: Params, prepared: Steps, wanted: Wanted, z_1: jax.Array, first: int = 0) -> Iterator[Stop]:
        """Stops on the path; with `first`, the path starts after that many steps, from z = `z_1`."""
        z = z_1
        for begin, end in pairwise(self.stops(first)):
            z = self._advance(params, prepared, wanted, z, (np.int32(begin), np.int32(end)))
            yield Stop(jax.block_until_ready(z), (end - begin) / (self._loss.depth - first))


class Flow(Sampler):
    """The probability flow from γ_1 to γ_0, solved as `config.ode` says: another generative model than the steps'."""

    def __init__(self, experiment: Experiment):
        """Raises InputError if the model has no flow."""
        model, solver = experiment.model, solver_of(experiment.config.ode)
        model.check_flow()
        self._config = experiment.config.ode

        @partial(jax.jit, out_shardings=(batched(experiment.mesh), replicated(experiment.mesh)))
        def solve(params, wanted, z_1):
            """z_0 [B, ...], and the number [] of images that the solver gave up on."""
            process = wanted.bind(model, params)
            ends = process.endpoints[::-1]
            z_0 = by_example(lambda process, z: carry(flow_of(process), z, ends, solver), process, z_1)
            return z_0, jnp.isnan(z_0).any(axis=tuple(range(1, z_0.ndim))).sum()

        self._solve = solve

    @property
    def name(self) -> str:
        return f"{FLOW}-rtol{self._config.rtol:g}-atol{self._config.atol:g}"

    def describe(self) -> dict[str, Any]:
        return {"kind": FLOW, "solver": METHOD, "rtol": self._config.rtol, "atol": self._config.atol}

    def walk(self, params: Params, prepared: None, wanted: Wanted, z_1: jax.Array) -> Iterator[Stop]:
        """One stop, z_0; raises RunError if the solver gave up."""
        z_0, failures = self._solve(params, wanted, z_1)
        check_solved(int(failures))
        yield Stop(z_0, 1.0)


SAMPLERS = {ANCESTRAL: Ancestral, FLOW: Flow}


def make_sampler(experiment: Experiment) -> Sampler:
    """The sampler that `config.sample` names; raises InputError if it does not suit the model or the data."""
    return lookup("sample.sampler", experiment.config.sample.sampler, SAMPLERS)(experiment)


def needs_training_images(config: Config) -> bool:
    """Whether the sampler that `config.sample` names fits something on training images."""
    return lookup("sample.sampler", config.sample.sampler, SAMPLERS).needs_training_images(config)


def first_noise(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """ε [B, *shape] of the images with `keys` [B]: z_1, or the noise with which images are diffused."""
    return gaussian_each(keys, NOISE, shape)


def step_noise(keys: jax.Array, shape: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
    """k -> ε [B, *shape] of step k, counted from γ_1, of the images with `keys` [B]."""
    return lambda k: gaussian_each(keys, STEPS + k, shape)
