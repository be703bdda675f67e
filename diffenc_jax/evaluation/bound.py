"""The variational bound, at infinite depth or over steps: one time per image and pass."""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diffenc_jax.config.sections import LossConfig
from diffenc_jax.core.streams import draw_each, stream, uniform
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.losses import TERMS, Noise, bound_at
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.diffusion.times import best_density, by_density
from diffenc_jax.evaluation.estimator import Pass, StepsEstimator, Tables, image_keys
from diffenc_jax.evaluation.fit import Fit, fit_description, fit_images, num_fit_images
from diffenc_jax.evaluation.uncertainty import replicates
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.parallel import sharding
from diffenc_jax.runs.base import BaseRun

# Number of cells of t, on each of which the density of importance-sampled times is constant; at most one per step.
CELLS = 32


class Bound(StepsEstimator):
    """The bound by term, with the times of an image spread over its passes.

    The passes fall into independent groups of n (`replicates`). The passes j = 0 .. n - 1 of a group use the times of
    s = u + j/n (mod 1), with one u ~ U(0, 1) per image and group. The times are spread evenly, and the differences
    between groups show how much noise is left. t = Q^-1(s) has the density q (`times.by_density`), and the diffusion
    term is weighted by 1 / q(t), so that the estimate is unbiased for every q.

    Bounds of one model on one mesh share their compiled functions, whatever their depth.
    """

    terms = TERMS

    def __init__(self, run: BaseRun, loss: LossConfig | None = None, passes: int | None = None, fit: Fit | None = None):
        """Raises InputError if `config.fit` is needed and does not suit the data or the devices.

        Args:
          loss: `model.loss` by default.
          passes: `config.eval.passes` by default.
          fit: the fitted steps to use; by default they are fitted when they are needed.
        """
        super().__init__(run, loss, fit)
        self.passes = passes or self.passes
        self._importance = run.config.eval.time_sampling == "importance"
        if self._importance:
            num_fit_images(run)
        self._compiled = _compiled(run.model, run.mesh)

    @property
    def name(self) -> str:
        return self.loss.name + ("" if self._importance else "-uniform_sampling")

    @property
    def replicates(self) -> int | None:
        return replicates(self.passes)

    def describe(self) -> dict[str, Any]:
        sampling = "importance" if self._importance else "uniform"
        fit = {"fit": fit_description(self.run)} if self._importance else {}
        return {"kind": "bound", **super().describe(), "time_sampling": sampling, **fit}

    def tables(self, params: Params) -> Tables:
        """The steps' arrays at finite depth, and the 'mass' of importance-sampled times by cell."""
        tables = super().tables(params)
        mass = best_density(self._mean_squares(params, tables)) if self._importance else np.ones(1)
        return tables | {"mass": jnp.asarray(mass, jnp.float32)}

    def estimate(self, given: Pass) -> dict[str, jax.Array]:
        noise, weight = self.noise(given.tables, given.indices, int(given.number))
        return self.values(given.params, given.tables, given.batch, noise, weight)

    def noise(self, tables: Tables, indices: jax.Array, number: int) -> tuple[Noise, jax.Array]:
        """The noise of pass `number` for the images at `indices` [B] of their split, and the weights 1 / q(t) [B].

        An image's noise depends only on (seed, index, group, j), so its value does not depend on its batch.
        """
        groups = self.replicates or 1
        seed = np.uint32(self.run.config.eval.seed)
        place = [np.int32(value) for value in (number % groups, number // groups, self.passes // groups)]
        return self._compiled.draw(tables["mass"], seed, indices, *place)

    def values(
        self, params: Params, tables: Tables, batch: Batch, noise: Noise, weight: jax.Array
    ) -> dict[str, jax.Array]:
        """The values that `estimate` returns, under the given noise."""
        steps = None if self.loss.depth is None else Steps.from_arrays(tables)
        return self._compiled.terms(params, batch, noise, weight, self._compiled.point(params, steps, noise.t))

    def _mean_squares(self, params: Params, tables: Tables) -> np.ndarray:
        """[cells] the mean square of the diffusion term over training images, by cell of t."""
        config, mesh = self.run.config, self.run.mesh
        split, batch_size = fit_images(self.run), sharding.round_up(mesh, config.eval.batch_size)
        cells = min(CELLS, self.loss.depth or CELLS)
        squares = np.zeros((cells, len(split.data)))
        key = stream(config.fit.seed, "fit density")
        for start in range(0, squares.size, batch_size):
            # The first pairs fill up the last batch.
            pair = np.arange(start, start + batch_size) % squares.size
            cell, image = np.divmod(pair, squares.shape[1])
            batch, *places = sharding.to_devices(mesh, (sharding.fetch(split, image), cell, pair))
            noise = self._compiled.draw_in_cell(cells, key, *places)
            values = self.values(params, tables, batch, noise, jnp.ones_like(noise.t))
            squares[cell, image] = np.square(np.asarray(values["diffusion"], np.float64))
        return squares.mean(axis=1)


class _Compiled:
    """The jitted functions of the bound of one model on one mesh.

    Places on the path are computed separately from the terms, so that the networks are compiled once for all depths.
    """

    def __init__(self, model: Model, mesh: Mesh):
        def terms(params, batch, noise, weight, point):
            """The terms by name, with their times and weights, [B] each."""
            process = bind_to(model, params, batch)
            terms = bound_at(process, batch.data, process.warped(point), noise).weighted(weight)
            return {name: getattr(terms, name) for name in TERMS} | {"t": noise.t, "weight": weight}

        self.point = jax.jit(lambda params, steps, t: model.bind(params).instant(t) if steps is None else steps.at(t))
        self.terms = jax.jit(terms, out_shardings=sharding.replicated(mesh))
        self.draw = jax.jit(partial(_draw, model))
        self.draw_in_cell = jax.jit(partial(_draw_in_cell, model), static_argnums=0)


_compiled = lru_cache(maxsize=4)(_Compiled)


def _draw(model, mass, seed, indices, group, j, n):
    """Noise [B] of pass j of n of a group, and weights 1 / q(t) [B]."""
    keys = image_keys(seed, indices, group)
    t, weight = by_density(mass, jnp.mod(draw_each(uniform, keys, 0, ()) + j / n, 1.0))
    return _noise_each(model, jax.vmap(jax.random.fold_in, (0, None))(keys, 1 + j), t), weight


def _draw_in_cell(model, cells, key, cell, number):
    """Noise [B] of the pairs with these numbers [B], at times uniform in `cell` [B], one of `cells` equal cells."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, number)
    t = (cell + draw_each(uniform, keys, 0, ())) / cells
    return _noise_each(model, jax.vmap(partial(jax.random.fold_in, data=1))(keys), t)


def _noise_each(model: Model, keys: jax.Array, t: jax.Array) -> Noise:
    """Noise at times t [B], drawn for each example from its own key."""
    noise = jax.vmap(model.draw_noise)(keys, t[:, None])
    return jax.tree.map(lambda a: jnp.squeeze(a, 1), noise)
