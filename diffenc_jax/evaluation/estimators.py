"""Registry of estimators; a new one is a class (`estimator.Estimator`) in a module of its own, and an entry here."""

from diffenc_jax.config import Config
from diffenc_jax.core.errors import lookup
from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.evaluation.code_length import CodeLength
from diffenc_jax.evaluation.estimator import Estimator
from diffenc_jax.evaluation.importance_weighted import ImportanceWeighted
from diffenc_jax.evaluation.ode import Ode
from diffenc_jax.runs.experiment import Experiment

ESTIMATORS: dict[str, type[Estimator]] = {
    "bound": Bound,
    "code_length": CodeLength,
    "importance_weighted": ImportanceWeighted,
    "ode": Ode,
}


def make_estimator(experiment: Experiment) -> Estimator:
    """The estimator that `config.eval` names; raises InputError if it does not suit the model or the data."""
    return lookup("eval.estimator", experiment.config.eval.estimator, ESTIMATORS)(experiment)


def needs_training_images(config: Config) -> bool:
    """Whether the estimator that `config.eval` names fits something on training images."""
    return lookup("eval.estimator", config.eval.estimator, ESTIMATORS).needs_training_images(config)
