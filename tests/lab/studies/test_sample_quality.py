"""Anomaly scores, bits/dim by many draws, and the quality of samples, which distinguishes copies and noise."""

import math
import re

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.datasets import load_digits

import diffenc_jax as dj
from diffenc_jax.__main__ import main
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies import anomalies, draws, sample_quality
from diffenc_jax.runs.stored import StoredRun
from tests import tiny
from tests.refusals import refused
from tests.stored_runs import write_averages

TRAIN, TEST = 1100, 350


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run's folder with samples: 'held-out', which are digits of neither split; 'copies'; 'noise'."""
    folder, digits = tmp_path_factory.mktemp("run"), load_digits().images.astype(np.uint8)[..., None]
    train, test, others = np.split(np.random.RandomState(1).permutation(digits), [TRAIN, TRAIN + TEST])
    np.savez(folder / "digits.npz", train=train, test=test)
    StoredRun(folder).write(tiny.config("vdm", data__source=str(folder / "digits.npz")))
    kinds = {"held-out": others, "copies": train[:300], "noise": tiny.images(300, (8, 8, 1))}
    (folder / "samples").mkdir()
    for name, images in kinds.items():
        np.savez(folder / "samples" / f"{name}.npz", images=images)
    return folder


def run(home, name, **options):
    return studies.measure("sample-quality", home, samples=home / "samples" / f"{name}.npz", **options).result


def test_real_images_copies_and_noise_are_told_apart(home):
    real, copies, noise = (run(home, name) for name in ("held-out", "copies", "noise"))
    assert real.counts == [347, TRAIN, TEST]
    assert abs(real.copying[0]) < 3
    assert real.numbers["near"][0] == pytest.approx(0.05, abs=0.04)
    assert copies.copying[0] < -20
    assert (copies.numbers["copies"], copies.numbers["near"][0]) == ([1, 0], 1)
    np.testing.assert_array_equal(copies.pairs[0], copies.pairs[1])
    assert ["  copies", "100.0%", "0.0%"] in copies.tables()[0].rows
    assert noise.copying[0] > 20


def test_the_last_samples_of_a_run_are_measured_and_named(home, capsys):
    for name in ("500-depth3-seed0", "1500-flow-rtol0.001-seed0", "1500-flow-rtol0.001-seed1"):
        (home / "samples" / f"{name}.npz").write_bytes((home / "samples" / "noise.npz").read_bytes())
    assert main(["sample-quality", str(home)]) == 0
    assert "1500-flow-rtol0.001-seed1.json, 1500-flow-rtol0.001-seed1.npz" in capsys.readouterr().out
    study = studies.load("sample-quality")
    measured = study.read(study.newest(home, "test"))
    assert (measured.step, measured.result.file) == (1500, "1500-flow-rtol0.001-seed1.npz")


REFUSED = [
    ({"samples": tiny.images(20, (8, 8, 1))}, "holds no array 'images'"),
    ({"images": tiny.images(20, (4, 4, 1))}, r"images must be \[N, 8, 8, 1\]; these are \[20, 4, 4, 1\]"),
    ({"images": tiny.images(9, (8, 8, 1))}, "9 samples or test images are too few"),
    ({"images": tiny.images(20, (8, 8, 1)) / 16}, "but pixels are whole numbers"),
]


@pytest.mark.parametrize(("arrays", "said"), REFUSED)
def test_arrays_that_are_no_samples_of_the_run_are_refused(home, tmp_path, capsys, arrays, said):
    np.savez(tmp_path / "samples.npz", **arrays)
    command = ["sample-quality", home, f"--samples={tmp_path / 'samples.npz'}"]
    assert re.search(said, refused(main, command, capsys))


def test_a_run_without_samples_is_refused(tmp_path, capsys):
    StoredRun(tmp_path).write(tiny.config("vdm"))
    error = refused(main, ["sample-quality", tmp_path], capsys)
    assert "holds no samples; draw some with diffenc sample, or give --samples=FILE" in error


def test_the_nearest_training_image(monkeypatch):
    monkeypatch.setattr(sample_quality, "CHUNK", 7)
    train, samples = tiny.images(30, seed=1), tiny.images(9)
    found, numbers = sample_quality.nearest(samples, train)
    distances = np.sqrt(((samples[:, None].astype(float) - train) ** 2).sum(axis=(2, 3, 4)))
    np.testing.assert_allclose(found, distances.min(axis=1))
    np.testing.assert_array_equal(numbers, distances.argmin(axis=1))


def test_copies_are_at_zero_exactly_and_next_to_copies_are_not():
    train = np.random.RandomState(0).randint(254, 256, (50, 32, 32, 3)).astype(np.uint8)  # the longest vectors
    samples = train[[3, 40, 7, 7]].copy()
    samples[1, 5, 5, 1] ^= 1
    distances, numbers = sample_quality.nearest(samples, train)
    assert distances.tolist() == [0, 1, 0, 0]
    assert numbers.tolist() == [3, 40, 7, 7]


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
