"""Likelihoods with a latent code, against those given the label that the code says, which differ by its cost."""

import dataclasses

import jax
import numpy as np
import pytest

from diffenc_jax.evaluation.evaluator import Evaluator
from tests.evaluation.gaussian import SHAPE
from tests.evaluation.gaussian_classes import MEANS, PARAMS, coded_experiment, experiment

COST = np.log2(len(MEANS)) / np.prod(SHAPE)  # bits/dim
KINDS = {
    "bound": {"eval__passes": 64, "eval__time_sampling": "uniform"},
    "ode": {"eval__estimator": "ode", "eval__passes": 4},
    "importance_weighted": {"eval__estimator": "importance_weighted", "eval__passes": 4, "loss__depth": 100},
}


@pytest.mark.parametrize(
    "kind", ["bound", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("ode", "importance_weighted"))]
)
def test_bits_are_those_given_the_code_and_its_cost(kind):
    """Whatever the noise schedules of the pixels are, which depend on the code."""
    coded, params = coded_experiment(**KINDS[kind])
    labelled = experiment(**KINDS[kind])
    images = coded.dataset.examples("test").pixels
    labels = np.asarray(jax.jit(coded.model.code_of)(params, images)).argmax(axis=1).astype(np.int32)
    labelled = dataclasses.replace(labelled, dataset=dataclasses.replace(labelled.dataset, labels={"test": labels}))
    ours, theirs = Evaluator(coded).evaluate(params), Evaluator(labelled).evaluate(PARAMS)
    error = np.hypot(*(found["standard_error"]["noise"] for found in (ours, theirs)))
    assert ours["bpd"]["total"] - theirs["bpd"]["total"] == pytest.approx(COST, abs=4 * error + 0.02)
