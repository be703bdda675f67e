"""examples/classify: the bound under every label, against closed forms for Gaussian classes."""

import importlib

import numpy as np
import pytest
import scipy

from diffenc_jax.__main__ import main
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.study import UNWATCHED
from diffenc_jax.runs.stored import StoredRun
from tests.evaluation import gaussian
from tests.refusals import refused
from tests.stored_runs import CLASSES, trained, write_images, write_run

PACKAGE = "classify"


@pytest.fixture(scope="module")
def classify():
    """The module of the example."""
    return importlib.import_module("classify")


def nats_of(classify, folder, passes, **changes):
    """A run of the exact model, and the nats of its images under each label, by group."""
    untrained = gaussian.run_of_classes(count=60, eval__passes=passes, **changes)
    StoredRun(folder).write(untrained.config)
    run = trained(untrained, gaussian.PARAMS, folder)
    return run, classify.measure_bounds(run, UNWATCHED)


@pytest.fixture(scope="module")
def few(classify, tmp_path_factory):
    return nats_of(classify, tmp_path_factory.mktemp("few"), 64)


@pytest.mark.slow
def test_an_exact_model_classifies_as_bayes_does(classify, tmp_path):
    run, nats = nats_of(classify, tmp_path, 1024)
    images, mean = run.dataset.split("test").examples, nats.mean(axis=0)
    expected = scipy.special.softmax(gaussian.log_densities(images.data), axis=1)
    found = scipy.special.softmax(-mean, axis=1)
    np.testing.assert_allclose(found, expected, atol=0.06)
    assert np.abs(found - expected).mean() < 0.01
    # Of the two equal classes neither is the more probable one.
    np.testing.assert_array_equal(mean[:, 2], mean[:, 3])
    right = expected[:, :3].argmax(axis=1) == images.labels
    assert abs(classify.summarize(nats, images.labels).accuracy[0] - right.mean()) < 0.05


def test_the_noise_is_as_large_as_its_effect(classify, few):
    """The differences between bounds miss those of the log densities by as much as the noise says."""
    run, nats = few[0], few[1][..., :3]
    exact = -gaussian.log_densities(run.dataset.split("test").data)
    best = np.argsort(nats.mean(axis=0), axis=1)[:, :2]
    found, expected = (np.diff(np.take_along_axis(each, best, axis=1), axis=1) for each in (nats.mean(axis=0), exact))
    error = np.sqrt(np.mean((found - expected) ** 2))
    assert 0.7 < classify.noise_of(nats) / error < 1.5
    assert error > 0.1
    assert classify.noise_of(nats[:1]) is None


def test_the_bound_under_the_own_label_is_that_of_an_evaluation(few):
    """Since times and noise are those of the estimator; whatever the batch size."""
    run, nats = few
    config = run.config.replace({"eval.batch_size": 7})
    record = Evaluator(run.changed(config=config)).evaluate(run.params)
    own = nats.mean(axis=0)[np.arange(60), run.dataset.split("test").labels]
    assert own.mean() / (run.model.spec.dims * np.log(2)) == pytest.approx(record["bpd"]["total"], rel=1e-4)


def test_the_study_is_of_runs_with_labels(announced, tmp_path, capsys):
    labelled = write_run(tmp_path / "a", write_images(tmp_path / "images.npz"), model__labels=True)
    first = studies.measure("classify", labelled, passes=4).result
    np.testing.assert_array_equal(first.labels, np.arange(13) % CLASSES)
    assert len(list((labelled / "classify-records").glob("*.json"))) == CLASSES
    assert first.tables()[0].rows[0][0] == 13
    assert first.sentence().endswith(f" of 13 images in {CLASSES} classes")
    plain = write_run(tmp_path / "b", tmp_path / "images.npz")
    assert "is a run without labels, which cannot classify; train one" in refused(main, ["classify", plain], capsys)


def test_scores_by_hand(classify):
    """Two classes; of the confidences 0.75, 1 and 0.5 the first alone is that of a right prediction."""
    nats = np.array([[[1.0, 1.0 + np.log(3)], [700.0, 0.0], [5.0, 5.0]]])
    found = classify.summarize(nats, [0, 0, 1])
    assert found.accuracy == pytest.approx([1 / 3, 1 / 3])
    assert found.log_score[0] == pytest.approx((np.log(4 / 3) + 700 + np.log(2)) / 3)
    assert found.calibration_error == pytest.approx((0.25 + 1 + 0.5) / 3)
    assert found.noise is None
    probabilities = np.array([[0.72, 0.28], [0.78, 0.22]])  # in one bin, where both errors cancel in part
    assert classify.calibration_error(probabilities, np.array([0, 1])) == pytest.approx(abs(0.28 - 0.78) / 2)
