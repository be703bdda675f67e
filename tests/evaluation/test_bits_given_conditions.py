"""Likelihoods given labels, against closed forms for Gaussian classes, and with a latent code that says the label."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.stats import norm

from diffenc_jax.evaluation.evaluator import Evaluator
from tests.evaluation.gaussian import DEVIATION, LEVELS, PARAMS, SHAPE, VALUES
from tests.evaluation.gaussian_classes import MEANS, coded_run, run_with

KINDS = {
    "bound": {"eval__passes": 64, "eval__time_sampling": "uniform"},
    "ode": {"eval__estimator": "ode", "eval__passes": 4},
    "importance_weighted": {"eval__estimator": "importance_weighted", "eval__passes": 4, "loss__depth": 100},
}


def exact_bits(run, labels):
    """-log2 p(pixels | label) per dimension of the test images, for N(m, 0.3²) and bins of pixels.

    All estimators exceed it by the same, since they know of the bins no more than z_0 says.
    """
    x = VALUES[run.dataset.split("test").data].reshape(len(labels), -1)
    return -norm.logpdf(x, MEANS[labels][:, None], DEVIATION).mean(axis=1) / np.log(2) + np.log2(LEVELS / 2)


def labelled_as(run, split, labels):
    """The run with other labels of a split."""
    return run.changed(dataset=run.dataset.with_split(dataclasses.replace(run.dataset.split(split), labels=labels)))


@pytest.mark.parametrize("kind", ["bound", pytest.param("ode", marks=pytest.mark.slow)])
def test_bits_are_those_given_the_label(kind):
    """Given wrong labels they are as much higher as they should be."""
    run = run_with(**KINDS[kind])
    labels = run.dataset.split("test").labels
    wrong = (labels + 1) % len(MEANS)
    bits, error = [], 0.0
    for given in (labels, wrong):
        found = Evaluator(labelled_as(run, "test", given)).evaluate(PARAMS)
        assert found["estimator"]["labels"] is True
        bits.append(found["bpd"]["total"])
        error += found["standard_error"]["noise"]
    expected = [exact_bits(run, given).mean() for given in (labels, wrong)]
    assert bits[1] - bits[0] == pytest.approx(expected[1] - expected[0], abs=4 * error + 0.03)
    assert expected[1] - expected[0] > 0.3


def test_steps_are_fitted_to_labelled_images():
    """Times and ratios that are fitted with the labels give a lower bound than those with wrong labels."""
    changes = {"loss__times": "optimal", "loss__variance_ratio": "optimal_pixel"}
    run = run_with(loss__depth=4, eval__passes=16, eval__time_sampling="uniform", **changes)
    other = labelled_as(run, "train", (run.dataset.split("train").labels + 1) % len(MEANS))
    evaluator, bits = Evaluator(run), []
    for tables in [Evaluator(each).estimator.tables(PARAMS) for each in (run, other)]:
        evaluator.estimator.tables = lambda _, tables=tables: tables
        bits.append(evaluator.evaluate(PARAMS)["bpd"]["total"])
    assert bits[0] < bits[1] - 0.02


COST = np.log2(len(MEANS)) / np.prod(SHAPE)  # bits/dim


@pytest.mark.parametrize(
    "kind", ["bound", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("ode", "importance_weighted"))]
)
def test_bits_are_those_given_the_code_and_its_cost(kind):
    """Whatever the noise schedules of the pixels are, which depend on the code."""
    coded, params = coded_run(**KINDS[kind])
    labelled = run_with(**KINDS[kind])
    images = coded.dataset.split("test").examples.data
    labels = np.asarray(jax.jit(coded.model.code_of)(params, images)).argmax(axis=1).astype(np.int32)
    labelled = labelled_as(labelled, "test", labels)
    ours, theirs = Evaluator(coded).evaluate(params), Evaluator(labelled).evaluate(PARAMS)
    error = np.hypot(*(found["standard_error"]["noise"] for found in (ours, theirs)))
    assert ours["bpd"]["total"] - theirs["bpd"]["total"] == pytest.approx(COST, abs=4 * error + 0.02)
