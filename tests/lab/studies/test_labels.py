"""Studies of a model that is conditioned on labels: they measure the bound that an evaluation estimates."""

import numpy as np
import pytest

from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.lab.studies.by_time.measure import measure_loss_by_time
from diffenc_jax.lab.studies.rate_distortion.measure import measure_rate_distortion
from diffenc_jax.runs.trained import Trained
from tests.evaluation import gaussian_classes


def opened(**changes):
    """A run of the exact model of Gaussian classes."""
    experiment = gaussian_classes.experiment(eval__time_sampling="uniform", **changes)
    return Trained(**vars(experiment), workdir=None, step=1, steps=[1], params=gaussian_classes.PARAMS)


def test_the_loss_by_time_adds_up_to_the_diffusion_term():
    run = opened(eval__passes=64)
    record = Evaluator(run).evaluate(run.params)
    nats = measure_loss_by_time(run, cells=20, num_draws=4).diffusion
    bits = nats.mean(axis=2) / (2 * np.log(2))
    error = np.hypot(record["standard_error"]["terms"]["diffusion"]["noise"], bits.std() / np.sqrt(bits.size))
    assert bits.mean() == pytest.approx(record["bpd"]["diffusion"], abs=4 * error)


def test_the_last_rate_is_the_bound():
    run = opened(loss__depth=5, eval__passes=16)
    record, rates = Evaluator(run).evaluate(run.params), measure_rate_distortion(run).rate
    error = 2 * record["standard_error"]["noise"]
    assert rates[..., -1].mean() == pytest.approx(record["bpd"]["total"], abs=4 * error)
