"""Studies of a model that is conditioned on labels: they measure the bound that an evaluation estimates."""

import numpy as np
import pytest

from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.lab.studies.by_time import measure_loss_by_time
from diffenc_jax.lab.studies.progressive import measure_rates
from tests.evaluation import gaussian, gaussian_classes
from tests.stored_runs import trained


def evaluated(**changes):
    """A run of the exact model of Gaussian classes, and the record of its evaluation."""
    experiment = gaussian_classes.experiment(eval__time_sampling="uniform", **changes)
    run = trained(experiment, gaussian.PARAMS)
    return run, Evaluator(run).evaluate(run.params)


def test_the_loss_by_time_adds_up_to_the_diffusion_term():
    run, record = evaluated(eval__passes=64)
    nats = measure_loss_by_time(run, cells=20, num_draws=4).diffusion
    bits = nats.mean(axis=2) / (2 * np.log(2))
    error = np.hypot(record["standard_error"]["terms"]["diffusion"]["noise"], bits.std() / np.sqrt(bits.size))
    assert bits.mean() == pytest.approx(record["bpd"]["diffusion"], abs=4 * error)


def test_the_last_rate_is_the_bound():
    run, record = evaluated(loss__depth=5, eval__passes=16)
    last = measure_rates(run).rate[..., -1]
    assert last.mean() == pytest.approx(record["bpd"]["total"], abs=8 * record["standard_error"]["noise"])
