"""A study of a model that is conditioned on labels measures the bound that an evaluation estimates."""

import numpy as np
import pytest

from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.lab.studies.by_time import measure_loss_by_time
from tests.evaluation import gaussian
from tests.stored_runs import trained


def test_the_loss_by_time_adds_up_to_the_diffusion_term():
    run = trained(gaussian.run_of_classes(eval__time_sampling="uniform", eval__passes=64), gaussian.PARAMS)
    record = Evaluator(run).evaluate(run.params)
    nats = measure_loss_by_time(run, cells=20, num_draws=4).diffusion
    bits = nats.mean(axis=2) / (2 * np.log(2))
    error = np.hypot(record["standard_error"]["terms"]["diffusion"]["noise"], bits.std() / np.sqrt(bits.size))
    assert bits.mean() == pytest.approx(record["bpd"]["diffusion"], abs=4 * error)
