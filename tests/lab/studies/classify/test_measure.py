"""The bound under every label, against closed forms for Gaussian classes."""

from functools import cache

import numpy as np
import scipy

from diffenc_jax.__main__ import main
from diffenc_jax.evaluation.bound import Bound
from diffenc_jax.evaluation.estimator import Pass
from diffenc_jax.lab import studies
from diffenc_jax.lab.stats.calibration import posterior
from diffenc_jax.lab.studies.classify.measure import measure_bounds, noise_of, summarize
from diffenc_jax.runs.trained import Trained
from tests.evaluation import gaussian_classes
from tests.lab.studies.runs import CLASSES, write_images, write_run
from tests.refusals import refused


def opened(**changes):
    """A run of the exact model."""
    experiment = gaussian_classes.experiment(**changes)
    return Trained(**vars(experiment), workdir=None, step=1, steps=[1], params=gaussian_classes.PARAMS)


@cache
def classified():
    """A run, and the nats of its images under each label in many passes, by group."""
    run = opened(count=60, eval__passes=1024)
    return run, measure_bounds(run, Bound(run))


def test_an_exact_model_classifies_as_bayes_does():
    run, nats = classified()
    images, mean = run.dataset.examples("test"), nats.mean(axis=0)
    expected = scipy.special.softmax(gaussian_classes.log_densities(images.pixels), axis=1)
    np.testing.assert_allclose(posterior(mean), expected, atol=0.06)
    assert np.abs(posterior(mean) - expected).mean() < 0.01
    # Of the two equal classes neither is the more probable one.
    np.testing.assert_array_equal(mean[:, 2], mean[:, 3])
    right = expected[:, :3].argmax(axis=1) == images.labels
    found = summarize(nats, images.labels, {})
    assert abs(found.accuracy - right.mean()) < 0.05
    assert found.accuracy_by_class[3] == 0.0
    assert sum(row["accuracy"] * row["images"] for row in found.rows if row["images"]) / 60 == found.accuracy


def test_the_noise_is_as_large_as_its_effect():
    """The differences between bounds miss those of the log densities by as much as the noise says."""
    run = opened(count=60, eval__passes=64)
    nats = measure_bounds(run, Bound(run))[..., :3]
    exact = -gaussian_classes.log_densities(run.dataset.splits["test"])
    best = np.argsort(nats.mean(axis=0), axis=1)[:, :2]
    found, expected = (np.diff(np.take_along_axis(each, best, axis=1), axis=1) for each in (nats.mean(axis=0), exact))
    error = np.sqrt(np.mean((found - expected) ** 2))
    assert 0.7 < noise_of(nats) / error < 1.5
    assert error > 0.1
    assert noise_of(nats[:1]) is None


def test_an_accuracy_of_1_is_not_certain():
    """Of 50 images, all of them right, the 95 % interval begins at 1 / (1 + z²/50)."""
    nats = np.random.RandomState(0).normal(size=(1, 50, 3))
    found = summarize(nats, nats[0].argmin(axis=1), {})
    assert found.accuracy == 1.0
    np.testing.assert_allclose(found.interval, [1 / (1 + 1.959964**2 / 50), 1.0], rtol=1e-6)


def test_the_bound_under_the_own_label_is_that_of_an_evaluation():
    """Term by term, since times and noise are those of the estimator."""
    run, nats = classified()
    bound, images = Bound(run), run.dataset.examples("test")
    tables, own = bound.tables(run.params), np.zeros(len(images.pixels))
    for number in range(bound.passes):
        values = bound.estimate(Pass(run.params, tables, images, np.arange(len(own)), number))
        own += sum(np.asarray(values[name], np.float64) for name in bound.terms) / bound.passes
    np.testing.assert_allclose(nats.mean(axis=0)[np.arange(len(own)), images.labels], own, rtol=1e-4)


def test_values_do_not_depend_on_the_batch():
    run = opened(count=50, eval__passes=2, eval__batch_size=7)
    whole = opened(count=50, eval__passes=2, eval__batch_size=50)
    np.testing.assert_allclose(measure_bounds(run, Bound(run)), measure_bounds(whole, Bound(whole)), rtol=1e-4)


def test_the_study_is_of_runs_with_labels(tmp_path, capsys):
    labelled = write_run(tmp_path / "a", write_images(tmp_path / "images.npz"), arm="diffenc", model__labels=True)
    found = studies.measure("classify", labelled, {"eval.seed": 3}, passes=4).result
    assert found.nats.shape == (13, CLASSES)
    np.testing.assert_array_equal(found.labels, np.arange(13) % CLASSES)
    assert (found.estimator["passes"], found.estimator["seed"]) == (4, 3)
    plain = write_run(tmp_path / "b", tmp_path / "images.npz")
    said = "is a run without labels, which cannot classify; train one with --config.model.labels=True"
    assert said in refused(main, ["classify", plain], capsys)
    compress = ["compress", labelled, "test", "-o", tmp_path / "c", "--config.loss.depth=3"]
    assert "would have to send the labels as well; take a run without labels" in refused(main, compress, capsys)
