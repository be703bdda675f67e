"""The way from noise to z_0, a batch at a time: by the generative model's steps, or along the probability flow."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax.calibrate import Calibration, FitConfig, steps_for
from diffenc_jax.config import unpack
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.diffusion import samplers
from diffenc_jax.diffusion.flow import MAX_STEPS, SOLVER, carry
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.errors import RunError
from diffenc_jax.estimators.ode import OdeConfig
from diffenc_jax.model import Model, Params
from diffenc_jax.sampling.config import ANCESTRAL, FLOW, SampleConfig
from diffenc_jax.streams import gaussian_each
from diffenc_jax.train import sharding

# The loop over steps is handed to the device in so many parts, between which signals and frames are looked at.
PARTS = 50
# What an image's key is folded with: for z_1, for the draw of its pixels, and from here on for step k.
NOISE, PIXELS, STEPS = 0, 1, 2


class Stop(NamedTuple):
    """A place on the way: z [B, ...], and the part of the way that was gone since the stop before."""

    z: jax.Array
    share: float


class Sampler(Protocol):
    """How z_0 comes from z_1.

    Attributes:
      name: for names of files.
    """

    @property
    def name(self) -> str: ...

    def describe(self) -> dict[str, Any]:
        """All that z_0 depends on but the parameters and the noise."""
        ...

    def prepare(self, params: Params) -> Any:
        """What is to be found out before the first batch."""
        ...

    def walk(self, params: Params, prepared: Any, keys: jax.Array, z_1: jax.Array) -> Iterator[Stop]:
        """Stops on the way from z_1 [B, ...] to z_0, the last one, of the images with `keys` [B]."""
        ...


class Ancestral:
    """`sample.depth` steps of the generative model, with the times and ratios that `config.loss` names."""

    def __init__(self, model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh):
        """Raises InputError where there are no such steps."""
        self._subject = model, config, dataset, mesh
        self._loss = dataclasses.replace(model.loss, depth=SampleConfig.of(config).depth)
        model.check_depth("sample.depth", self._loss.depth)
        if self._loss.fitted:
            Calibration.check(config, dataset, mesh)
        self._advance = jax.jit(partial(advance, model), out_shardings=sharding.batched(mesh))

    @property
    def name(self) -> str:
        return self._loss.name

    def stops(self, first: int = 0) -> list[int]:
        """The numbers of steps, counted from γ_1, after which `walk` stops; `first`, after which it begins, too."""
        left = self._loss.depth - first
        parts = min(left, PARTS)
        return [first + left * part // parts for part in range(parts + 1)] if left else [first]

    def describe(self) -> dict[str, Any]:
        _, config, dataset, _ = self._subject
        described = {"kind": ANCESTRAL, **vars(self._loss)}
        if self._loss.fitted:
            described["fit"] = FitConfig.of(config, dataset).describe(dataset)
        return described

    def prepare(self, params: Params) -> Steps:
        """The steps, fitted where they are to be."""
        model, *rest = self._subject
        return steps_for(self._loss, model, params, *rest)

    def walk(self, params: Params, prepared: Steps, keys: jax.Array, z_1: jax.Array, first: int = 0) -> Iterator[Stop]:
        """Also from amid the steps: `z_1` then is z after the `first` of them."""
        z = z_1
        for begin, end in pairwise(self.stops(first)):
            z = self._advance(params, prepared, keys, z, np.int32(begin), np.int32(end))
            yield Stop(jax.block_until_ready(z), (end - begin) / (self._loss.depth - first))


def advance(
    model: Model, params: Params, steps: Steps, keys: jax.Array, z: jax.Array, first: jax.Array, last: jax.Array
) -> jax.Array:
    """z [B, ...] through the steps first .. last - 1, counted from γ_1, with the noise of the images' keys [B]."""
    return samplers.ancestral(
        model.predict_v(params),
        model.extrapolation,
        steps,
        z,
        lambda step: gaussian_each(keys, STEPS + step, model.spec.shape),
        first,
        last,
    )


class Flow:
    """The probability flow from γ_1 to γ_0, solved as `config.ode` says; its model is another than the steps'."""

    def __init__(self, model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh):
        """Raises InputError where the model has no flow."""
        model.check_flow()
        self._ode = unpack(OdeConfig, config.ode, "ode")
        shardings = sharding.batched(mesh), sharding.replicated(mesh)
        self._carry = jax.jit(partial(carry_down, model, self._ode), out_shardings=shardings)

    @property
    def name(self) -> str:
        return f"{FLOW}-rtol{self._ode.rtol:g}-atol{self._ode.atol:g}"

    def describe(self) -> dict[str, Any]:
        return {"kind": FLOW, "solver": SOLVER, "rtol": self._ode.rtol, "atol": self._ode.atol}

    def prepare(self, params: Params) -> None:
        """Nothing."""

    def walk(self, params: Params, prepared: None, keys: jax.Array, z_1: jax.Array) -> Iterator[Stop]:
        """Raises RunError where the solver gave up."""
        z_0, failed = self._carry(params, z_1)
        if failed:
            raise RunError(
                f"the solver gave up on {failed} images after {MAX_STEPS} steps; give larger ode.rtol and ode.atol"
            )
        yield Stop(z_0, 1.0)


def carry_down(model: Model, ode: OdeConfig, params: Params, z_1: jax.Array) -> tuple[jax.Array, jax.Array]:
    """z_0 [B, ...] of the flow, and the number [] of images that the solver gave up on."""
    gamma_0, gamma_1 = model.ends(params)
    z_0 = carry(model.flow(params), z_1, (gamma_1, gamma_0), ode.rtol, ode.atol)
    return z_0, jnp.isnan(z_0).any(axis=tuple(range(1, z_0.ndim))).sum()


SAMPLERS = {ANCESTRAL: Ancestral, FLOW: Flow}


def make_sampler(model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh) -> Sampler:
    """The one that `config` asks for; raises InputError where it cannot be had for this model or these data."""
    return SAMPLERS[SampleConfig.of(config).sampler](model, config, dataset, mesh)
