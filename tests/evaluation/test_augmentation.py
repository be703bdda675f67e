"""Evaluations of a run that was trained with augmentation: of the images as they are, and the record says so."""

import numpy as np

from diffenc_jax.evaluation.evaluator import Evaluator
from tests.evaluation import gaussian


def test_the_record_names_the_augmentation_of_the_training():
    changes = {"eval__passes": 2, "eval__time_sampling": "uniform"}
    augmented = {"train__augment": "flip", **changes}
    runs = [changes, augmented, augmented | {"model__augmentation": True}]
    plain, *others = (Evaluator(gaussian.experiment(**each)).evaluate(gaussian.PARAMS) for each in runs)
    assert "augmentation" not in plain
    for found, entry in zip(others, ("flip", "flip, conditioned"), strict=True):
        assert found["augmentation"] == entry
        assert found["estimator"] == plain["estimator"]
        np.testing.assert_allclose(found["bpd"]["total"], plain["bpd"]["total"], rtol=1e-6)
