"""Bounds along other paths than the trained one: against each other, VDM's, and Gaussian integrals at their ends."""

import dataclasses

import numpy as np
import pytest

from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.diffusion.encoders import Trainable
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.lab.studies import encoder_bounds as bounds
from diffenc_jax.lab.studies.encoder_bounds import REPLACEMENTS, measure_bounds, measure_ends
from diffenc_jax.lab.studies.study import UNWATCHED
from diffenc_jax.model import build
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.runs.records import read_record, read_values
from diffenc_jax.runs.stored import StoredRun
from tests import tiny
from tests.lab.studies.runs import Affine
from tests.stored_runs import trained, write_images

GAMMA_MAX = 2.0
CHANGES = {"eval__passes": 4, "eval__time_sampling": "uniform", "model__schedule__gamma_max": GAMMA_MAX}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose encoder network gives y = 0, and so x_t = α² x."""
    folder = tmp_path_factory.mktemp("off")
    config = tiny.config("diffenc", data__source=str(write_images(folder / "images.npz")), **CHANGES)
    StoredRun(folder).write(config)
    run = BaseRun.load(config)
    model = dataclasses.replace(run.model, score=Affine(), encoder=Trainable(Affine()))
    params = tiny.drawn(model, scale=0.5) | {"encoder": tiny.drawn(model, scale=0.0)["encoder"]}
    return trained(run.changed(model=model), params, folder)


@pytest.fixture(scope="module")
def measured(run):
    """The bounds by encoder, and the paths of their records."""
    return measure_bounds(run, UNWATCHED)


def test_records_name_the_encoder(measured):
    found, paths = measured
    assert list(found) == ["trained", "identity", "nontrainable", "vdm"]
    for name, path in paths.items():
        assert read_record(path)["estimator"].get("encoder", "trained") == name


def test_an_encoder_that_does_what_another_does_has_its_bound(measured):
    found, _ = measured
    assert found["nontrainable"]["bpd"] == pytest.approx(found["trained"]["bpd"], rel=1e-5)
    assert all(error < 1e-5 for _, error in found["nontrainable"]["difference"].values())
    assert abs(found["identity"]["difference"]["diffusion"][0]) > 1e-3


def test_an_encoder_that_leaves_x_alone_has_the_identitys_bound_with_the_drift(run, tmp_path, monkeypatch):
    """With y = x, x_t = x and its slope is 0, while the generative mean drifts as it was trained to."""

    class Copying(Trainable):
        def output(self, x, gamma):
            return x

    monkeypatch.setattr(bounds, "REPLACEMENTS", {"identity": REPLACEMENTS["identity"]})
    StoredRun(tmp_path).write(run.config)
    model = dataclasses.replace(run.model, encoder=Copying(Affine()))
    found, _ = measure_bounds(trained(run.changed(model=model), run.params, tmp_path), UNWATCHED)
    assert found["identity"]["bpd"] == pytest.approx(found["trained"]["bpd"], rel=1e-5)


def test_without_the_drift_it_is_a_vdm(run, measured):
    """VDM with the same score network; only the diffusion term depends on the drift."""
    found, config = measured[0], tiny.config("vdm", **CHANGES)
    model = dataclasses.replace(build(config, run.model.spec), score=run.model.score)
    params = {name: run.params[name] for name in ("score", "schedule")}
    vdm = Evaluator(run.changed(config=config, model=model)).evaluate(params)
    assert found["vdm"]["bpd"] == pytest.approx(vdm["bpd"], rel=1e-5)
    for term in ("reconstruction", "latent"):
        assert found["identity"]["bpd"][term] == pytest.approx(vdm["bpd"][term], rel=1e-5)
    assert abs(found["identity"]["bpd"]["diffusion"] / vdm["bpd"]["diffusion"] - 1) > 1e-3


def test_differences_are_paired_by_image_and_noise(measured):
    """Recomputed from the values, two passes in each of two replicates."""
    found, paths = measured
    first, other = (read_values(paths[name]) for name in ("trained", "identity"))
    np.testing.assert_array_equal(first["t"], other["t"])
    change = (other["diffusion"] - first["diffusion"]) / (16 * np.log(2))
    noise = np.sqrt(change.reshape(2, 2, 13).mean(axis=0).var(axis=0, ddof=1).mean() / (2 * 13))
    error = max(noise, change.mean(axis=0).std(ddof=1) / np.sqrt(13))
    assert found["identity"]["difference"]["diffusion"] == pytest.approx((change.mean(), error))
    total = found["identity"]["bpd"]["total"] - found["trained"]["bpd"]["total"]
    assert total == pytest.approx(found["identity"]["difference"]["total"][0])


def test_fitted_steps_are_those_of_the_trained_encoder(run, monkeypatch):
    """They are variances of the generative model, which stays the same."""
    monkeypatch.setattr(bounds, "REPLACEMENTS", {"identity": REPLACEMENTS["identity"]})
    config = run.config.replace({"loss.depth": 2, "loss.variance_ratio": "optimal"})
    model = dataclasses.replace(run.model, loss=config.loss)
    _, paths = measure_bounds(run.changed(config=config, model=model), UNWATCHED)
    first, other = (read_values(paths[name]) for name in ("trained", "identity"))
    assert np.all(first["ratio"] < 1)
    np.testing.assert_array_equal(other["ratio"], first["ratio"])
    assert np.all(other["diffusion"] != first["diffusion"])


def test_the_terms_at_the_ends_of_both_paths(run, measured):
    """x_1 = α² x and x_1 = x, with the moments of the training images; the other terms are those of the bounds."""
    found, ends = measured[0], measure_ends(run, measured[1])
    alpha2, sigma2 = 1 / (1 + np.exp(GAMMA_MAX)), 1 / (1 + np.exp(-GAMMA_MAX))
    train, test = ((2.0 * run.dataset.split(split).data + 1.0) / tiny.LEVELS - 1.0 for split in (TRAIN, "test"))
    for name, k in (("trained", alpha2), ("identity", 1.0)):
        z, mean = np.sqrt(alpha2) * k * test, np.sqrt(alpha2) * k * train.mean(axis=0)
        s2 = alpha2 * k**2 * train.var(axis=0) + sigma2
        latent = 0.5 * (z**2 + sigma2 - np.log(sigma2) - 1).sum(axis=(1, 2, 3))
        fitted = 0.5 * (np.log(s2 / sigma2) + (sigma2 + (z - mean) ** 2) / s2 - 1).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(ends[name].latent, latent, rtol=1e-4)
        np.testing.assert_allclose(ends[name].fitted, fitted, rtol=1e-4)
        for term in ("reconstruction", "latent"):
            nats = found[name]["bpd"][term] * 16 * np.log(2)
            assert getattr(ends[name], term).mean() == pytest.approx(nats, rel=1e-5)
        np.testing.assert_allclose(ends[name].cost, ends[name].reconstruction + latent - fitted, rtol=1e-3)
