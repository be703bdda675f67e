"""Registry of estimators; a new one is a class (`estimator.Estimator`) in a module of its own, and an entry here."""

import importlib

from diffenc_jax.config import Config
from diffenc_jax.core.errors import lookup
from diffenc_jax.evaluation.estimator import Estimator
from diffenc_jax.runs.experiment import Experiment

ESTIMATORS = {
    "bound": "diffenc_jax.evaluation.bound:Bound",
    "code_length": "diffenc_jax.lab.coding.code_length:CodeLength",
    "importance_weighted": "diffenc_jax.evaluation.importance_weighted:ImportanceWeighted",
    "ode": "diffenc_jax.evaluation.ode:Ode",
}


def estimator_class(name: str) -> type[Estimator]:
    """The estimator of this name; raises InputError if there is none."""
    module, _, attribute = lookup("eval.estimator", name, ESTIMATORS).partition(":")
    return getattr(importlib.import_module(module), attribute)


def make_estimator(experiment: Experiment) -> Estimator:
    """The estimator that `config.eval` names; raises InputError if it does not suit the model or the data."""
    return estimator_class(experiment.config.eval.estimator)(experiment)


def needs_training_images(config: Config) -> bool:
    """Whether the estimator that `config.eval` names fits something on training images."""
    return estimator_class(config.eval.estimator).needs_training_images(config)
