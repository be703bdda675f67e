"""The base class of estimators that go through all steps of a finite depth in each value."""

from typing import Any

from diffenc_jax.config import Config
from diffenc_jax.evaluation.estimator import Estimator, Tables
from diffenc_jax.evaluation.fit import check_fit, fit_description, steps_for
from diffenc_jax.model import Params
from diffenc_jax.runs.experiment import Experiment


class WholePath(Estimator):
    """An estimator at the finite depth of `config.loss`, whose tables are the steps."""

    def __init__(self, experiment: Experiment):
        """Raises InputError if `config.fit` is needed and does not suit the data or the devices."""
        super().__init__(experiment)
        self._loss = experiment.model.loss
        if self._loss.is_fitted:
            check_fit(experiment)

    @staticmethod
    def needs_training_images(config: Config) -> bool:
        return config.loss.is_fitted

    def describe(self) -> dict[str, Any]:
        loss = self._loss
        description = {
            "depth": loss.depth,
            "variance_ratio": loss.variance_ratio,
            "extrapolation": loss.extrapolation,
            "times": loss.times,
            **super().describe(),
        }
        if loss.is_fitted:
            description["fit"] = fit_description(self.experiment)
        return description

    def tables(self, params: Params) -> Tables:
        """The steps' arrays, by name."""
        return steps_for(self.experiment, params, self._loss).to_arrays()
