"""The likelihood of the probability-flow ODE for dequantised images, as `config.ode` says."""

import dataclasses
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config.sections import OdeConfig
from diffenc_jax.core.errors import RunError, lookup
from diffenc_jax.core.streams import signs, uniform
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.flow import MAX_STEPS, METHOD, Solver, by_example, flow_of
from diffenc_jax.diffusion.likelihood import DEQUANTISATIONS, DIVERGENCES, ode_likelihood
from diffenc_jax.evaluation.estimator import Estimator, Tables, image_keys
from diffenc_jax.model import Params
from diffenc_jax.parallel.mesh import replicated
from diffenc_jax.runs.experiment import Experiment


class Ode(Estimator):
    """-log P(pixels) <= prior + divergence + dequantisation; see `diffusion/likelihood.py`.

    The flow is another generative model than the one whose bound the other estimators evaluate, although both use the
    same score network: here noise becomes an image along a deterministic path.
    """

    terms = ("prior", "divergence", "dequantisation")
    diagnostic_formats: ClassVar = {
        "evaluations": "function evaluations per image: {0[mean]:.0f} on average, {0[max]} at most"
    }

    def __init__(self, experiment: Experiment):
        """Raises InputError if the model has no flow, or a name in `config.ode` is unknown."""
        super().__init__(experiment)
        self._config = experiment.config.ode
        lookup("ode.divergence", self._config.divergence, DIVERGENCES)
        lookup("ode.dequantisation", self._config.dequantisation, DEQUANTISATIONS)
        experiment.model.check_flow()
        self._estimate = jax.jit(partial(_estimate, experiment), out_shardings=replicated(experiment.mesh))

    @property
    def name(self) -> str:
        return f"ode-{self._config.divergence}-{self._config.dequantisation}"

    def describe(self) -> dict[str, Any]:
        head = " and the head for dx_t/dγ" if self.experiment.model.has_derivative_head else ""
        return {
            "kind": "ode",
            "model": f"the probability flow of the score network{head}, another model than the bound's",
            **dataclasses.asdict(self._config),
            "solver": METHOD,
            **super().describe(),
        }

    def estimate(self, params: Params, tables: Tables, batch: Batch, indices: jax.Array, number: int):
        return self._estimate(params, batch, indices, np.int32(number))

    def diagnostics(self, values: dict[str, np.ndarray], tables: Tables) -> dict[str, Any]:
        """'evaluations' of the flow, mean and maximum; raises RunError if the solver gave up on an image."""
        check_solved(int(np.isnan(values["prior"]).any(axis=0).sum()))
        evaluations = values["evaluations"]
        return {"evaluations": {"mean": float(evaluations.mean()), "max": int(evaluations.max())}}


def solver_of(config: OdeConfig) -> Solver:
    """The solver with the tolerances of `config.ode`."""
    return Solver(config.rtol, config.atol)


def check_solved(failures: int) -> None:
    """Raises RunError if the solver gave up on any image."""
    if failures:
        raise RunError(
            f"the solver gave up on {failures} images after {MAX_STEPS} steps; give larger ode.rtol and ode.atol"
        )


def open_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws from U(0, 1) without 0, which would place a truncated normal at the edge of its bin.

    `uniform` returns 0 once in 2^23 draws.
    """
    return jnp.maximum(uniform(key, shape), 2.0**-24)


def _estimate(experiment, params, batch, indices, number):
    model, ode, spec = experiment.model, experiment.config.ode, experiment.model.spec
    process = model.bind(params, condition=model.condition(batch))
    keys = image_keys(experiment.config.eval.seed, indices, number)

    def draw(place, sampler):
        return jax.vmap(lambda key: sampler(jax.random.fold_in(key, place), spec.shape))(keys)

    x, ends = process.pixel_values(batch.pixels), process.endpoints
    dequantise, divergence = DEQUANTISATIONS[ode.dequantisation], DIVERGENCES[ode.divergence]
    z_0, nats = dequantise(x, spec.pixel_levels, ends[0], draw(0, open_uniform))

    def likelihood(process, z_0, probe):
        return ode_likelihood(flow_of(process), z_0, ends, probe, divergence, solver_of(ode))

    path = by_example(likelihood, process, z_0, draw(1, signs))
    return path._asdict() | {"dequantisation": jnp.broadcast_to(nats, path.prior.shape)}
