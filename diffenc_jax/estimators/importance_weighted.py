"""The importance-weighted bound: `eval.draws` draws of the whole path an image and pass."""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax.calibrate import Calibration, FitConfig, steps_for
from diffenc_jax.config import require, unpack
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.diffusion import importance_weighted
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.estimators.base import Tables, pass_key
from diffenc_jax.estimators.config import EvalConfig
from diffenc_jax.model import LossConfig, Model, Params
from diffenc_jax.streams import gaussian_each
from diffenc_jax.train import sharding


class ImportanceWeighted:
    """-ln(1/K Σ w) at the depth of `config.loss`, which is finite; see diffusion/importance_weighted.py."""

    terms = ("importance_weighted",)
    phrases: ClassVar = {
        "one_draw": "the bound, by the same paths one by one: {:.4f} bits/dim",
        "effective_draws": "draws that carry the weight, on average: {:.1f}",
    }

    def __init__(self, model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh):
        """The one that `config.loss` and `config.eval` ask for; raises InputError where it cannot be had."""
        self._subject = model, config, dataset, mesh
        self._settings = EvalConfig.of(config)
        self._loss, self.passes = model.loss, self._settings.passes
        require(
            self._loss.depth is not None,
            "eval.estimator=importance_weighted needs a finite loss.depth, such as --config.loss.depth=100: "
            "it draws whole paths",
        )
        if self._loss.fitted:
            Calibration.check(config, dataset, mesh)  # refused now, not after training
        self._estimate = jax.jit(
            partial(_estimate, model, self._settings.seed, self._settings.draws),
            out_shardings=sharding.replicated(mesh),
        )

    @staticmethod
    def needs_training_images(config: ConfigDict) -> bool:
        """Whether something is fitted on training images."""
        return unpack(LossConfig, config.loss, "loss").fitted

    @property
    def name(self) -> str:
        return f"{self._loss.name}-importance_weighted{self._settings.draws}"

    @property
    def replicates(self) -> int | None:
        return self.passes if self.passes > 1 else None

    def describe(self) -> dict[str, Any]:
        loss, (_, config, dataset, _) = self._loss, self._subject
        description = {
            "kind": "importance_weighted",
            "draws": self._settings.draws,
            "depth": loss.depth,
            "variance_ratio": loss.variance_ratio,
            "extrapolation": loss.extrapolation,
            "times": loss.times,
            "passes": self.passes,
            "replicates": self.replicates,
            "seed": self._settings.seed,
        }
        if loss.fitted:
            description["fit"] = FitConfig.of(config, dataset).describe(dataset)
        return description

    def tables(self, params: Params) -> Tables:
        """'gamma' and 'ratio' of the steps."""
        model, *rest = self._subject
        return steps_for(self._loss, model, params, *rest)._asdict()

    def estimate(self, params: Params, tables: Tables, pixels: jax.Array, indices: jax.Array, number: int):
        return self._estimate(params, Steps(tables["gamma"], tables["ratio"]), pixels, indices, jnp.int32(number))

    def remarks(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        """'one_draw', bits/dim of the same paths at K = 1, the bound; 'effective_draws', on average, of K."""
        model = self._subject[0]
        return {
            "one_draw": float(values["one_draw"].mean() / (model.spec.dims * np.log(2))),
            "effective_draws": float(values["effective_draws"].mean()),
        }


def _estimate(
    model: Model, seed: int, draws: int, params: Params, steps: Steps, pixels: jax.Array, indices: jax.Array, number
) -> dict[str, jax.Array]:
    keys = jax.vmap(partial(pass_key, seed, group=number))(indices)

    def path(k):
        of_path = jax.vmap(partial(jax.random.fold_in, data=k))(keys)

        draw = partial(gaussian_each, of_path, shape=model.spec.shape)
        return model.log_weight(params, pixels, steps, draw(steps.depth), draw)

    log_weights = jax.lax.map(path, jnp.arange(draws))
    return {
        "importance_weighted": importance_weighted.bound(log_weights),
        "one_draw": -log_weights.mean(axis=0),
        "effective_draws": importance_weighted.effective_draws(log_weights),
    }
