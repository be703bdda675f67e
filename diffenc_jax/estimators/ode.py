"""The likelihood of the probability-flow ODE, of dequantised images: `config.ode` says how."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax.config import require, unpack
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.flow import MAX_STEPS, SOLVER
from diffenc_jax.diffusion.likelihood import DEQUANTISATIONS, DIVERGENCES, ode_likelihood
from diffenc_jax.errors import RunError, lookup
from diffenc_jax.estimators.base import Tables, pass_key
from diffenc_jax.estimators.config import EvalConfig
from diffenc_jax.model import Model, Params
from diffenc_jax.streams import signs, uniform
from diffenc_jax.train import sharding


@dataclass(frozen=True)
class OdeConfig:
    """`config.ode`.

    Attributes:
      divergence: a name of `likelihood.DIVERGENCES`: 'exact' costs as many derivatives as there are
        dimensions, 'hutchinson' one.
      dequantisation: a name of `likelihood.DEQUANTISATIONS`.
      rtol, atol: the solver's relative and absolute tolerance of a step.
    """

    divergence: str
    dequantisation: str
    rtol: float
    atol: float

    def __post_init__(self):
        lookup("ode.divergence", self.divergence, DIVERGENCES)
        lookup("ode.dequantisation", self.dequantisation, DEQUANTISATIONS)
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            require(0 < value < 1, f"ode.{name} must lie between 0 and 1, not {value}")


class Ode:
    """-log P(pixels) <= prior + divergence + dequantisation; see diffusion/likelihood.py.

    The flow's model is another one than that whose bound the other estimators give, though both come
    from one score network: here noise becomes an image along a deterministic path.
    """

    terms = ("prior", "divergence", "dequantisation")
    phrases: ClassVar = {"evaluations": "function evaluations an image: {0[mean]:.0f} on average, {0[max]} at most"}

    def __init__(self, model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh):
        """The one that `config.ode` and `config.eval` ask for; raises InputError where the model has no flow."""
        self._model = model
        self._settings, self._ode = EvalConfig.of(config), unpack(OdeConfig, config.ode, "ode")
        self.passes = self._settings.passes
        model.check_flow()
        self._estimate = jax.jit(
            partial(_estimate, model, self._settings.seed, self._ode), out_shardings=sharding.replicated(mesh)
        )

    @staticmethod
    def needs_training_images(config: ConfigDict) -> bool:
        """Nothing is fitted."""
        return False

    @property
    def name(self) -> str:
        return f"ode-{self._ode.divergence}-{self._ode.dequantisation}"

    @property
    def replicates(self) -> int | None:
        return self.passes if self.passes > 1 else None

    def describe(self) -> dict[str, Any]:
        parts = "the score network and the head for dx_t/dγ" if self._model.score.derivative else "the score network"
        return {
            "kind": "ode",
            "model": f"the probability flow of {parts}, another model than the bound's",
            **vars(self._ode),
            "solver": SOLVER,
            "passes": self.passes,
            "replicates": self.replicates,
            "seed": self._settings.seed,
        }

    def tables(self, params: Params) -> Tables:
        return {}

    def estimate(self, params: Params, tables: Tables, pixels: jax.Array, indices: jax.Array, number: int):
        return self._estimate(params, pixels, indices, jnp.int32(number))

    def remarks(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        """'evaluations' of the flow, mean and largest, over images and passes.

        Raises:
          RunError: the solver gave up on an image.
        """
        failed = int(np.isnan(values["prior"]).any(axis=0).sum())
        if failed:
            raise RunError(
                f"the solver gave up on {failed} images after {MAX_STEPS} steps; give larger ode.rtol and ode.atol"
            )
        evaluations = values["evaluations"]
        return {"evaluations": {"mean": float(evaluations.mean()), "max": int(evaluations.max())}}


def _shares(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """U(0, 1), without the 0 that `uniform` gives once in 2^23 draws: a normal's there is at the edge of its bin."""
    return jnp.maximum(uniform(key, shape), 2.0**-24)


def _estimate(
    model: Model, seed: int, ode: OdeConfig, params: Params, pixels: jax.Array, indices: jax.Array, number: jax.Array
) -> dict[str, jax.Array]:
    keys = jax.vmap(partial(pass_key, seed, group=number))(indices)

    def draw(place, sampler):
        return jax.vmap(lambda key: sampler(jax.random.fold_in(key, place), model.spec.shape))(keys)

    ends = model.ends(params)
    x = decoder.pixel_values(pixels, model.spec.levels)
    z_0, nats = DEQUANTISATIONS[ode.dequantisation](x, model.spec.levels, ends[0], draw(0, _shares))
    probe = draw(1, signs)
    path = ode_likelihood(model.flow(params), z_0, ends, probe, DIVERGENCES[ode.divergence], ode.rtol, ode.atol)
    return path._asdict() | {"dequantisation": jnp.broadcast_to(nats, path.prior.shape)}
