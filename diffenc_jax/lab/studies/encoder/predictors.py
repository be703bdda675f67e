"""The price of an encoder's drift by every predictor of dx_t/dγ that a run has."""

import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.lab.studies.encoder.linear import MOST_DIMS, measure_linear_rates
from diffenc_jax.lab.studies.encoder.price import measure_model_rates
from diffenc_jax.lab.studies.sweep import OnPart
from diffenc_jax.runs.trained import Trained


def measure_rates(run: Trained, gamma: np.ndarray, on_part: OnPart = lambda part: None) -> dict[str, np.ndarray]:
    """Rates [N, G] in nats per example per unit of γ, by names of `balance.PREDICTORS`, for the split at `gamma` [G].

    Raises InputError if there is no predictor at all.

    Args:
      run: has the training images as well.
    """
    dims, rates = run.model.spec.dims, {}
    require(
        run.model.estimates_slope or dims <= MOST_DIMS,
        f"{run.workdir} has no derivative head, and images of {dims} dimensions, above {MOST_DIMS}, have no linear "
        "prediction; train a head with --head-steps",
    )
    if run.model.estimates_slope:
        name = "head" if run.model.has_derivative_head else "score"
        rates[name] = measure_model_rates(run, gamma, on_part=lambda part: on_part(part / 2))
    if dims <= MOST_DIMS:
        rates |= measure_linear_rates(run, gamma, on_part=lambda part: on_part(part / 2))
    return rates
