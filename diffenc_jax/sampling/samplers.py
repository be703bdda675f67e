"""The path from noise to z_0, a batch at a time: by the generative model's steps, or along the probability flow."""

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from diffenc_jax.config.sections import ANCESTRAL, FLOW
from diffenc_jax.core.streams import gaussian_each
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.ancestral import ancestral
from diffenc_jax.diffusion.flow import GAVE_UP, Solver, by_example, carry, flow_of
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.estimator import Method
from diffenc_jax.evaluation.fit import check_fit, fit_description, steps_for
from diffenc_jax.model import Model, Params
from diffenc_jax.model.model import CODE
from diffenc_jax.parallel.sharding import batched
from diffenc_jax.runs.base import BaseRun

# The loop over steps runs on the device in this many parts, between which signals are handled.
PARTS = 50
# Numbers folded into an image's key: NOISE for z_1, PIXELS for the draw of its pixels, STEPS + k for step k of the
# ancestral sampler.
NOISE, PIXELS, STEPS = 0, 1, 2


# z [B, ...] at a stop on the path, and the share of the path since the previous stop.
Stop = tuple[jax.Array, float]


class Request(NamedTuple):
    """Images to draw.

    Attributes:
      keys: [B] their random keys.
      labels: [B, ...] their labels; None for a model without labels.
    """

    keys: jax.Array
    labels: jax.Array | None = None

    def bind(self, model: Model, params: Params) -> Process:
        """The process that draws these images, with codes from their prior."""
        batch = Batch(None, self.labels, model.no_augmentation(len(self.keys)))
        code = model.code.prior(self.keys, CODE) if model.code else None
        return model.bind(params, condition=model.condition(params, batch, code=code))


class Sampler(Method):
    """A method of sampling z_0 from z_1."""

    kind = "sampler"

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything that z_0 depends on, except for the parameters and the noise."""

    def prepare(self, params: Params) -> Any:
        """Compute once, before the first batch, what `walk` needs."""
        return None

    @abstractmethod
    def walk(self, params: Params, prepared: Any, request: Request, z_1: jax.Array) -> Iterator[Stop]:
        """Follow the paths of the requested images from z_1 [B, ...]; yields stops; the last one is at z_0."""


class Ancestral(Sampler):
    """`sample.depth` steps of the generative model, with the times and ratios that `config.loss` names."""

    def __init__(self, run: BaseRun):
        """Raises InputError if the model or the data do not allow such steps."""
        super().__init__(run)
        model = run.model
        self._depth = run.config.sample.depth
        self._loss = dataclasses.replace(model.loss, depth=self._depth)
        model.check_depth("sample.depth", self._depth)
        if self._loss.is_fitted:
            check_fit(run)

        @partial(jax.jit, out_shardings=batched(run.mesh))
        def advance(params, steps, request, z, span):
            noise = step_noise(request.keys, model.spec.shape)
            return ancestral(request.bind(model, params), steps, z, noise, *span)

        self._advance = advance

    @property
    def name(self) -> str:
        return self._loss.name

    def describe(self) -> dict[str, Any]:
        described = {"kind": ANCESTRAL, **dataclasses.asdict(self._loss)}
        return described | ({"fit": fit_description(self.run)} if self._loss.is_fitted else {})

    def prepare(self, params: Params) -> Steps:
        """The steps, fitted if `config.loss` asks for it."""
        return steps_for(self.run, params, self._loss)

    def walk(self, params: Params, prepared: Steps, request: Request, z_1: jax.Array) -> Iterator[Stop]:
        z, parts = z_1, min(self._depth, PARTS)
        for begin, end in pairwise(self._depth * part // parts for part in range(parts + 1)):
            z = self._advance(params, prepared, request, z, (np.int32(begin), np.int32(end)))
            yield jax.block_until_ready(z), (end - begin) / self._depth


class Flow(Sampler):
    """The probability flow from γ_1 to γ_0, solved as `config.ode` says; a generative model other than the steps."""

    not_finite: ClassVar = GAVE_UP

    def __init__(self, run: BaseRun):
        """Raises InputError if the model has no flow."""
        super().__init__(run)
        run.model.check_flow()
        self._config = run.config.ode
        self._solve = jax.jit(partial(_flow, run), out_shardings=batched(run.mesh))

    @property
    def name(self) -> str:
        return f"{FLOW}-{self._config.method}-rtol{self._config.rtol:g}-atol{self._config.atol:g}"

    def describe(self) -> dict[str, Any]:
        return {"kind": FLOW, "method": self._config.method, "rtol": self._config.rtol, "atol": self._config.atol}

    def walk(self, params: Params, prepared: None, request: Request, z_1: jax.Array) -> Iterator[Stop]:
        """One stop, z_0."""
        yield self._solve(params, request, z_1), 1.0


def _flow(run: BaseRun, params: Params, request: Request, z_1: jax.Array) -> jax.Array:
    """z_0 [B, ...]; NaN where the solver gave up."""
    process, settings = request.bind(run.model, params), run.config.ode
    solver = Solver(settings.rtol, settings.atol, settings.method)
    gamma_0, gamma_1 = process.endpoints
    return by_example(lambda process, z: carry(flow_of(process), z, (gamma_1, gamma_0), solver), process, z_1)


def first_noise(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """ε [B, *shape] of the images with `keys` [B]: z_1, or the noise with which images are diffused."""
    return gaussian_each(keys, NOISE, shape)


def step_noise(keys: jax.Array, shape: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
    """k -> ε [B, *shape] of step k, counted from γ_1, of the images with `keys` [B]."""
    return lambda k: gaussian_each(keys, STEPS + k, shape)
