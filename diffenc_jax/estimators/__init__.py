"""Estimators of a test likelihood; a new one is a class (see `base.Estimator`) and an entry in `ESTIMATORS`."""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax.config import require
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.errors import lookup
from diffenc_jax.estimators.base import Estimator
from diffenc_jax.estimators.bound import Bound
from diffenc_jax.estimators.importance_weighted import ImportanceWeighted
from diffenc_jax.estimators.ode import Ode
from diffenc_jax.model import Model

ESTIMATORS = {"bound": Bound, "importance_weighted": ImportanceWeighted, "ode": Ode}


def make_estimator(model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh) -> Estimator:
    """The one that `config` asks for, whatever it is.

    Raises:
      InputError: it is unknown, or cannot be had for this model or these data.
    """
    kind, draws = config.eval.estimator, config.eval.draws
    make = lookup("eval.estimator", kind, ESTIMATORS)
    require(
        draws == 1 or kind == "importance_weighted",
        f"eval.draws={draws} is read by eval.estimator=importance_weighted alone, and this is {kind}",
    )
    return make(model, config, dataset, mesh)


def needs_training_images(config: ConfigDict) -> bool:
    """Whether the estimator that `config` asks for fits something on training images."""
    return lookup("eval.estimator", config.eval.estimator, ESTIMATORS).needs_training_images(config)
