"""Evaluations of a run that was trained with augmentation: of the images as they are, and the record says so."""

import numpy as np
import pytest

from diffenc_jax.evaluation.evaluator import Evaluator
from tests.evaluation import gaussian


@pytest.mark.parametrize(
    ("conditioned", "entry"), [(False, "flip"), (True, "flip, conditioned")], ids=["plain", "conditioned"]
)
def test_the_record_names_the_augmentation_of_the_training(conditioned, entry):
    changes = {"eval__passes": 2, "eval__time_sampling": "uniform"}
    augmented = gaussian.experiment(train__augment="flip", model__augmentation=conditioned, **changes)
    found, plain = (Evaluator(run).evaluate(gaussian.PARAMS) for run in (augmented, gaussian.experiment(**changes)))
    assert found["augmentation"] == entry
    assert "augmentation" not in plain
    assert found["estimator"] == plain["estimator"]
    np.testing.assert_allclose(found["bpd"]["total"], plain["bpd"]["total"], rtol=1e-6)
