"""The variational bound, at infinite depth or through steps: one time an image and pass."""

import copy
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax.calibrate import Calibration, FitConfig
from diffenc_jax.config import unpack
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.diffusion.losses import Noise, Terms
from diffenc_jax.diffusion.steps import Instant, Step, Steps
from diffenc_jax.diffusion.times import TimeDensity, best_density, systematic
from diffenc_jax.estimators.base import Tables, pass_key
from diffenc_jax.estimators.config import EvalConfig
from diffenc_jax.model import LossConfig, Model, Params
from diffenc_jax.stats.uncertainty import replicates
from diffenc_jax.streams import stream, uniform
from diffenc_jax.train import sharding

# Cells of t on each of which the density of importance-sampled times is constant; with fewer steps, a cell a step.
CELLS = 32


class Bound:
    """The bound by term (`Model.terms`), its times spread over the passes of an image.

    The passes fall into independent groups of n (`replicates`). Those of a group see the times of
    s = u + j/n (mod 1), j = 0 .. n - 1, with one u ~ U(0, 1) an image and group: they are spread evenly,
    and what the groups differ by tells how much noise is left. t = Q^-1(s) has the density q of a
    `TimeDensity`, and the diffusion term is weighted by 1 / q(t), so nothing is biased whatever q is.

    Attributes:
      loss: depth, variance ratio and times of the steps; the extrapolation is the model's.
      seed: of the noise.
    """

    terms = Terms._fields
    phrases: ClassVar = {"variance_kept": "importance sampling of times: {:.0%} of a uniform time's variance"}

    def __init__(self, model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh):
        """The one that `config.loss` and `config.eval` ask for; raises InputError where it cannot be had."""
        self._model, self._config, self._dataset, self._mesh = model, config, dataset, mesh
        settings = EvalConfig.of(config)
        self.loss, self.passes, self.seed = model.loss, settings.passes, settings.seed
        self._importance = settings.time_sampling == "importance"
        self._batch_size = sharding.round_up(mesh, settings.batch_size)
        # Refused now, not after training.
        if self._importance:
            FitConfig.of(config, dataset)
        if model.loss.fitted:
            Calibration.check(config, dataset, mesh)
        self._calibration: Calibration | None = None
        self._draw = jax.jit(partial(draw, model))
        self._draw_in_cell = jax.jit(partial(_draw_in_cell, model), static_argnums=0)
        # Places on the path are found apart, so that the networks are compiled once for all depths.
        self._instant, self._step = jax.jit(model.instant), jax.jit(lambda steps, t: steps.at(t))
        self._terms = jax.jit(partial(_weighted_terms, model), out_shardings=sharding.replicated(mesh))

    @staticmethod
    def needs_training_images(config: ConfigDict) -> bool:
        """Whether something is fitted on training images."""
        return config.eval.time_sampling == "importance" or unpack(LossConfig, config.loss, "loss").fitted

    def at(self, loss: LossConfig, passes: int, calibration: Calibration) -> "Bound":
        """The same for another `loss`, compiled together with this one."""
        other = copy.copy(self)
        other.loss, other.passes, other._calibration = loss, passes, calibration
        return other

    @property
    def name(self) -> str:
        return self.loss.name + ("" if self._importance else "-uniform_sampling")

    @property
    def replicates(self) -> int | None:
        return replicates(self.passes)

    def describe(self) -> dict[str, Any]:
        loss = self.loss
        description = {
            "kind": "continuous" if loss.depth is None else "discrete",
            "depth": loss.depth,
            "variance_ratio": loss.variance_ratio,
            "passes": self.passes,
            "replicates": self.replicates,
            "seed": self.seed,
            "time_sampling": "importance" if self._importance else "uniform",
        }
        if loss.depth is not None:
            description |= {"extrapolation": loss.extrapolation, "times": loss.times}
        if loss.fitted or self._importance:
            description["fit"] = FitConfig.of(self._config, self._dataset).describe(self._dataset)
        return description

    def tables(self, params: Params) -> Tables:
        """'gamma' and 'ratio' of the steps at finite depth, and the 'mass' of importance-sampled times by cell."""
        tables = {} if self.loss.depth is None else self._steps(params)._asdict()
        mass = np.ones(1)
        if self._importance:
            mass = best_density(self._squares(params, tables))
        return tables | {"mass": jnp.asarray(mass, jnp.float32)}

    def estimate(self, params: Params, tables: Tables, pixels: jax.Array, indices: jax.Array, number: int):
        return self.values(params, tables, pixels, *self.drawn(tables, indices, number))

    def drawn(self, tables: Tables, indices: jax.Array, number: int) -> tuple[Noise, jax.Array]:
        """The noise of pass `number` for the images at `indices` [B] of their split, and 1 / q(t) [B]."""
        groups = self.replicates or 1
        group, j, n = (jnp.int32(value) for value in (number % groups, number // groups, self.passes // groups))
        return self._draw(TimeDensity(tables["mass"]), np.uint32(self.seed), indices, group, j, n)

    def values(
        self, params: Params, tables: Tables, pixels: jax.Array, noise: Noise, weight: jax.Array
    ) -> dict[str, jax.Array]:
        """What `estimate` gives, under this noise."""
        return self._terms(params, pixels, noise, weight, self._place(params, tables, noise.t))

    def remarks(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        """'variance_kept': what importance sampling leaves of the variance of the diffusion term at one time.

        Measured on the values themselves: with y = f / q at t ~ q, E f² over uniform times is E q y², and
        groups of passes i, j that know nothing of each other give (E f)² as the mean of their product.
        """
        groups = self.replicates
        if not self._importance or groups is None:
            return {}
        y, q = values["diffusion"], 1.0 / values["weight"]
        means = y.reshape(-1, groups, y.shape[1]).mean(axis=0)
        product = (means.sum(axis=0) ** 2 - (means**2).sum(axis=0)) / (groups * (groups - 1))
        uniform, ours = (np.mean(np.mean(square, axis=0) - product) for square in (q * y**2, y**2))
        return {"variance_kept": float(ours / uniform)} if min(uniform, ours) > 0 else {}

    def _place(self, params: Params, tables: Tables, t: jax.Array) -> Instant | Step:
        if self.loss.depth is None:
            return self._instant(params, t)
        return self._step(Steps(tables["gamma"], tables["ratio"]), t)

    def _steps(self, params: Params) -> Steps:
        if not self.loss.fitted:
            return self._model.steps(params, self.loss)
        if self._calibration is not None:
            return self._calibration.steps(self.loss)
        return Calibration(self._model, params, self._config, self._dataset, self._mesh).steps(self.loss)

    def _squares(self, params: Params, tables: Tables) -> np.ndarray:
        """[cells] the mean square of the diffusion term over training images, by cell of t."""
        fit = FitConfig.of(self._config, self._dataset)
        images = fit.chosen(self._dataset)
        cells = min(CELLS, self.loss.depth or CELLS)
        squares = np.zeros((cells, fit.images))
        key = stream(fit.seed, "fit density")
        for start in range(0, squares.size, self._batch_size):
            # The last batch is filled up with the first pairs.
            pair = np.arange(start, start + self._batch_size) % squares.size
            cell, image = np.divmod(pair, fit.images)
            pixels, *places = (sharding.to_devices(self._mesh, a) for a in (images[image], cell, pair))
            noise = self._draw_in_cell(cells, key, *places)
            ones = jnp.ones_like(noise.t)
            terms = self._terms(params, pixels, noise, ones, self._place(params, tables, noise.t))
            squares[cell, image] = np.square(np.asarray(terms["diffusion"], np.float64))
        return squares.mean(axis=1)


def draw(
    model: Model, density: TimeDensity, seed: int, indices: jax.Array, group: jax.Array, j: jax.Array, n: jax.Array
) -> tuple[Noise, jax.Array]:
    """The noise of pass j of n of a group for the images at `indices` [B] of their split, and 1 / q(t) [B].

    An image's noise comes from (seed, index, group, j) alone, so that its value does not depend on
    the batch that it is in.
    """
    keys = jax.vmap(partial(pass_key, seed, group=group), 0)(indices)
    u = jax.vmap(uniform)(jax.vmap(partial(jax.random.fold_in, data=0))(keys))
    t, weight = density.at(systematic(u, j, n))
    return _draw_each(model, jax.vmap(jax.random.fold_in, (0, None))(keys, 1 + j), t), weight


def _draw_in_cell(model: Model, cells: int, key: jax.Array, cell: jax.Array, number: jax.Array) -> Noise:
    """Noise at t ~ U over each of `cell` [B], one of `cells` equal ones, for pairs of these numbers [B]."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, number)
    u = jax.vmap(uniform)(jax.vmap(partial(jax.random.fold_in, data=0))(keys))
    return _draw_each(model, jax.vmap(partial(jax.random.fold_in, data=1))(keys), (cell + u) / cells)


def _draw_each(model: Model, keys: jax.Array, t: jax.Array) -> Noise:
    """Noise at times [B], each example's from its own key."""
    noise = jax.vmap(model.draw_noise)(keys, t[:, None])
    return jax.tree.map(lambda a: jnp.squeeze(a, 1), noise)


def _weighted_terms(
    model: Model, params: Params, pixels: jax.Array, noise: Noise, weight: jax.Array, at: Instant | Step
) -> dict[str, jax.Array]:
    terms = model.terms(params, pixels, noise, at=at)
    terms = terms._replace(diffusion=weight * terms.diffusion)
    return terms._asdict() | {"t": noise.t, "weight": weight}
