"""The importance-weighted bound: `eval.num_draws` draws of the whole path per image and pass."""

import math
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.core.streams import gaussian_each
from diffenc_jax.diffusion.importance_weights import effective_draws, importance_bound, log_weight
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.estimator import Pass, StepsEstimator, image_keys
from diffenc_jax.model import bind_to
from diffenc_jax.parallel.sharding import replicated
from diffenc_jax.runs.base import BaseRun

# Format strings of `weight_diagnostics`.
WEIGHT_FORMATS = {
    "one_draw": "the bound, by the same draws one by one: {:.4f} bits/dim",
    "effective_draws": "draws that carry the weight, on average: {:.1f}",
}


class ImportanceWeighted(StepsEstimator):
    """-ln(1/K Σ w) at the finite depth of `config.loss`; see `diffusion/importance_weights.py`."""

    terms = ("importance_weighted",)
    diagnostic_formats: ClassVar = WEIGHT_FORMATS

    def __init__(self, run: BaseRun):
        """Raises InputError if the depth is infinite, or `config.fit` is needed and does not suit the data."""
        super().__init__(run)
        needs = "eval.estimator=importance_weighted needs a finite loss.depth, such as --config.loss.depth=100"
        require(self.loss.depth is not None, f"{needs}: it draws whole paths")
        self._estimate = jax.jit(partial(_estimate, run), out_shardings=replicated(run.mesh))

    @property
    def name(self) -> str:
        return f"{self.loss.name}-importance_weighted{self.run.config.eval.num_draws}"

    def describe(self) -> dict[str, Any]:
        draws = self.run.config.eval.num_draws
        return {"kind": "importance_weighted", "num_draws": draws, **super().describe()}

    def estimate(self, given: Pass) -> dict[str, jax.Array]:
        return self._estimate(given)

    def diagnostics(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        return weight_diagnostics(values, self.run.model.spec.dims)


def _estimate(run, given):
    model, settings = run.model, run.config.eval
    process, steps = bind_to(model, given.params, given.batch), Steps.from_arrays(given.tables)
    keys = image_keys(settings.seed, given.indices, given.number)

    def path(k):
        path_keys = jax.vmap(partial(jax.random.fold_in, data=k))(keys)
        draw = partial(gaussian_each, path_keys, shape=model.spec.shape)
        return log_weight(process, steps, given.batch.data, draw(steps.depth), draw)

    return weight_values(jax.lax.map(path, jnp.arange(settings.num_draws)))


def weight_values(log_weights: jax.Array) -> dict[str, jax.Array]:
    """Values [B] by name of K draws, from the logarithms of their weights [K, B]."""
    return {
        "importance_weighted": importance_bound(log_weights),
        "one_draw": -log_weights.mean(axis=0),
        "effective_draws": effective_draws(log_weights),
    }


def weight_diagnostics(values: dict[str, np.ndarray], dims: int) -> dict[str, float]:
    """'one_draw', the bound in bits/dim from the same draws; 'effective_draws', number of draws that carry the weight.

    Both are means over all values [passes, images].
    """
    one_draw, effective = (float(values[name].mean()) for name in WEIGHT_FORMATS)
    return {"one_draw": one_draw / (dims * math.log(2)), "effective_draws": effective}
