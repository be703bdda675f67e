"""Likelihoods with a latent code, against those given the label that the code says, which differ by its cost."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.lab.studies.compare.measure import check_comparable
from diffenc_jax.runs.records import read_evaluation
from diffenc_jax.runs.workdir import write_config
from tests.evaluation.gaussian import SHAPE
from tests.evaluation.gaussian_classes import MEANS, PARAMS, coded_experiment, experiment

COST = np.log2(len(MEANS)) / np.prod(SHAPE)  # bits/dim
KINDS = {
    "bound": {"eval__passes": 256, "eval__time_sampling": "uniform"},
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
    labels = np.asarray(coded.model.code_of(params, jnp.asarray(images))).argmax(axis=1).astype(np.int32)
    labelled = dataclasses.replace(labelled, dataset=dataclasses.replace(labelled.dataset, labels={"test": labels}))
    ours, theirs = Evaluator(coded).evaluate(params), Evaluator(labelled).evaluate(PARAMS)
    error = np.hypot(*(found["standard_error"]["noise"] for found in (ours, theirs)))
    assert ours["bpd"]["total"] - theirs["bpd"]["total"] == pytest.approx(COST, abs=4 * error + 0.02)


def test_a_coded_run_is_compared_with_one_without_codes(tmp_path):
    """The cost of the code is a part of its likelihood, so that nothing else needs to be said."""
    coded, params = coded_experiment(eval__passes=2, eval__time_sampling="uniform")
    write_config(tmp_path, coded.config)
    evaluator = Evaluator(coded)
    evaluator.record(params, 1, tmp_path)
    ours = read_evaluation(evaluator.path(params, 1, tmp_path))
    theirs = ours._replace(record={key: value for key, value in ours.record.items() if key != "code"})
    assert ours.record["code"] == pytest.approx(COST)
    check_comparable([ours, theirs], False)
