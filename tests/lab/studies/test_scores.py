"""Anomaly scores, and bits/dim by many draws of the path."""

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

import diffenc_jax as dj
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies import anomalies, draws
from tests import tiny
from tests.stored_runs import write_averages


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run with parameters that were not trained, whose images have classes."""
    folder = tmp_path_factory.mktemp("scores")
    images, labels = tiny.images(24), np.arange(24) % 2
    data = {"x_train": images[:16], "x_test": images[16:], "y_train": labels[:16], "y_test": labels[16:]}
    np.savez(folder / "images.npz", **data)
    config = tiny.config("vdm", data__source=str(folder / "images.npz"), **tiny.SMALL)
    return write_averages(folder / "run", config, {1: tiny.drawn(dj.Run(config).model)})


def test_the_area_under_the_curve_is_that_of_the_rank_test():
    rng = np.random.default_rng(0)
    a, b = np.round(rng.normal(1, 1, 50), 1), np.round(rng.normal(0, 1, 70), 1)
    found = anomalies.auroc(a, b)
    assert found["auroc"] == pytest.approx(mannwhitneyu(a, b).statistic / (len(a) * len(b)))
    resampled = [anomalies.auroc(rng.choice(a, 50), rng.choice(b, 70))["auroc"] for _ in range(500)]
    assert found["auroc_se"] == pytest.approx(np.std(resampled), rel=0.2)


def test_other_images_are_shrunk_by_means_of_squares():
    images = np.zeros((1, 10, 9, 1), np.uint8)
    images[0, 1:5, :4, 0] = 255  # of the centre, rows 1 .. 8 and columns 0 .. 7, the upper left block
    np.testing.assert_array_equal(anomalies.shrunk(images, 2, 17)[0, ..., 0], [[16, 0], [0, 0]])


def test_bits_are_means_over_passes(workdir, tmp_path, monkeypatch):
    others = tmp_path / "others.npz"
    np.savez(others, train=tiny.images(4, (8, 8, 1)), test=tiny.images(8, (8, 8, 1)))
    features = {"images": str(others), "nats": 1.0, "test_nats": 2.0, "auroc": 0.75, "auroc_se": 0.1}
    monkeypatch.setattr(anomalies, "by_features", lambda run, labelled, sets: iter([features]))
    result = studies.measure("anomalies", workdir, others=str(others), images=6, passes=3).result
    run = dj.open(workdir)
    bits = np.mean([run.terms(run.params, run.test, seed).total for seed in range(3)], axis=0) / 16 / math.log(2)
    assert [(row["images"], row["passes"]) for row in result.bits] == [
        (name, passes) for name in (str(others), "black images") for passes in (1, 3)
    ]
    assert result.bits[1]["test_bpd"] == pytest.approx(bits.mean())
    assert result.sentence().endswith("in 3 passes, 0.750 ± 0.100 by features")
    assert [len(table.rows) for table in result.tables()] == [4, 1]


def test_many_draws_are_those_of_the_importance_weighted_bound(workdir, monkeypatch):
    monkeypatch.setattr(draws, "PATHS", {"T = 2": {"loss.depth": 2}, "T = 3": {"loss.depth": 3}})
    monkeypatch.setattr(draws, "DRAWS", (1, 4))
    result = studies.measure("draws-study", workdir, images=4).result
    run = dj.open(workdir, {"loss.depth": 3})
    expected, errors = run.log_prob(run.test[:4], estimator="importance_weighted", num_draws=4, passes=2)
    last = result.rows[-1]
    assert (last["path"], last["draws"]) == ("T = 3", 4)
    assert last["bpd"] == pytest.approx(-expected.mean() / 16 / math.log(2))
    assert last["bpd_se"] == pytest.approx(np.sqrt((errors**2).sum()) / 4 / 16 / math.log(2))
    assert [row[0] for row in result.tables()[0].rows] == ["T = 2", "T = 3"]
    assert result.sentence().startswith("4 draws lower T = 3 by ")
