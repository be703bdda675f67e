"""The likelihood of the probability-flow ODE, for dequantised images or for real numbers, as `config.ode` says."""

import dataclasses
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.config.sections import EXACT, FINEST, HUTCHINSON
from diffenc_jax.core.errors import require
from diffenc_jax.core.streams import draw_each, signs, uniform
from diffenc_jax.diffusion.flow import GAVE_UP, Solver, likelihood_of
from diffenc_jax.evaluation.estimator import Estimator, Pass, image_keys
from diffenc_jax.evaluation.importance_weighted import WEIGHT_FORMATS, weight_diagnostics, weight_values
from diffenc_jax.model import bind_to
from diffenc_jax.parallel.sharding import replicated
from diffenc_jax.runs.base import BaseRun


class Ode(Estimator):
    """-log P(pixels) <= prior + divergence + dequantisation; see `diffusion/flow.py`.

    For real numbers the sum is -log p(x) itself, and 'volume', -ln |dz_0/dx|, replaces the dequantisation.

    With several draws of the dequantisation noise, the only term is -ln of the mean of their weights.

    The flow is a generative model of its own, although it uses the score network of the model whose bound the other
    estimators evaluate: here noise becomes an image along a deterministic path.
    """

    not_finite: ClassVar = GAVE_UP
    diagnostic_formats: ClassVar = {
        "evaluations": "function evaluations per image: {0[mean]:.0f} on average, {0[max]} at most",
        "numerical_error": "the solver's error in {0[images]} images: {0[rms]:.2g} bits/dim, {0[largest]:.2g} at most",
        **WEIGHT_FORMATS,
    }

    def __init__(self, run: BaseRun):
        """Raises InputError if the model has no flow."""
        super().__init__(run)
        self._config = run.config.ode
        run.model.check_flow()
        draws, self._is_real = self._config.dequantisation_draws, run.model.decoder.takes_reals
        useless = f"ode.dequantisation_draws={draws} is for pixels: real numbers are not dequantised; leave it out"
        require(draws == 1 or not self._is_real, useless)
        self.is_exact = self._is_real and self._config.divergence == EXACT
        self.passes = 1 if self.is_exact else self.passes
        self.terms = ("prior", "divergence", _start(run)) if draws == 1 else ("importance_weighted",)
        estimate = partial(_estimate if draws == 1 else _importance_weighted, run)
        self._estimate = jax.jit(estimate, out_shardings=replicated(run.mesh))

    @property
    def name(self) -> str:
        """'ode-exact-uniform', 'ode-hutchinson4-uniform' with four probes, 'ode-exact-uniform8' with eight draws."""
        probes, draws = ("" if n == 1 else n for n in (self._config.probes, self._config.dequantisation_draws))
        dequantised = "" if self._is_real else f"-{self._config.dequantisation}{draws}"
        return f"ode-{self._config.divergence}{probes}{dequantised}"

    @property
    def slow(self) -> str:
        """The derivatives per evaluation of the flow, and the solver's steps."""
        dims, ode = self.run.model.spec.dims, self._config
        exact = f"the exact divergence takes {dims} derivatives per step, ode.divergence=hutchinson one; "
        steps = f"with ode.rtol={ode.rtol:g} and ode.atol={ode.atol:g} rough densities need many steps"
        return f"{exact if ode.divergence == EXACT else ''}{steps}: give larger ones, or take the estimator bound"

    def describe(self) -> dict[str, Any]:
        settings = dataclasses.asdict(self._config)
        head = " and the head for dx_t/dγ" if self.run.model.has_derivative_head else ""
        return {
            "kind": "ode",
            "model": f"the probability flow of the score network{head}",
            **{name: value for name, value in settings.items() if not (self._is_real and name.startswith("dequant"))},
            **super().describe(),
        }

    def estimate(self, given: Pass) -> dict[str, jax.Array]:
        return self._estimate(given, np.float32(1.0))

    def numerical_errors(self, given: Pass, nats: np.ndarray) -> np.ndarray:
        """The change of the `nats` [N] if the solver has a tenth of the tolerances; NaN where it then gives up.

        Global errors fall about as the tolerances do, so the change is about the error. Where float32 allows no finer
        tolerance, it is the change by ten times the tolerances, which is larger than the error.
        """
        finer = min(self._config.rtol, self._config.atol) >= 10 * FINEST
        return self.total(self._estimate(given, np.float32(0.1 if finer else 10.0)))[: len(nats)] - nats

    def diagnostics(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        """Entries for the solver and the draws.

        'evaluations' has the mean and the maximum, over images and passes, of the number of evaluations of the flow for
        all draws. With several draws the entries of `weight_diagnostics` are added.
        """
        evaluations, dims = values["evaluations"], self.run.model.spec.dims
        entries = {"evaluations": {"mean": float(evaluations.mean()), "max": int(evaluations.max())}}
        return entries | (weight_diagnostics(values, dims) if "one_draw" in values else {})


def open_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws from U(0, 1) without 0, which would place a truncated normal at the edge of its bin.

    `uniform` returns 0 once in 2^23 draws.
    """
    return jnp.maximum(uniform(key, shape), 2.0**-24)


def _start(run):
    """The name of the term of the step from the data to z_0."""
    return "volume" if run.model.decoder.takes_reals else "dequantisation"


def _estimate(run, given, scale):
    """One draw per image: values by name, with the entropy of the dequantisation instead of ln q of the draw."""
    dequantised, path = _draw(run, given, scale, 0)
    values = {"prior": path.prior, "divergence": path.divergence, "evaluations": path.evaluations}
    return values | {_start(run): jnp.broadcast_to(dequantised.nats, path.prior.shape)}


def _importance_weighted(run, given, scale):
    """Several draws per image, one after another, by their weights p(z_0) / q(z_0)."""

    def weight(j):
        dequantised, path = _draw(run, given, scale, j)
        return -path.total - dequantised.log_density, path.evaluations

    log_weights, evaluations = jax.lax.map(weight, jnp.arange(run.config.ode.dequantisation_draws))
    return weight_values(log_weights) | {"evaluations": evaluations.sum(axis=0)}


def _draw(run, given, scale, j):
    """Draw number j of z_0 for each image, and its likelihood by `scale` times the tolerances."""
    model, ode, spec = run.model, run.config.ode, run.model.spec
    process = bind_to(model, given.params, given.batch)
    keys = image_keys(run.config.eval.seed, given.indices, given.number)
    # Even places are for the dequantisation, odd ones for the probes.
    ends, u = process.endpoints, draw_each(open_uniform, keys, 2 * j, spec.shape)
    dequantised = process.decoder.on_flow(given.batch.data, ends[0], ode.dequantisation, u)
    drawn = jnp.stack([draw_each(signs, keys, 2 * i + 1, spec.shape) for i in range(ode.probes)], axis=1)
    probes = drawn if ode.divergence == HUTCHINSON else None
    solver = Solver(scale * ode.rtol, scale * ode.atol, ode.method)
    return dequantised, likelihood_of(process, dequantised.z_0, probes, solver)
