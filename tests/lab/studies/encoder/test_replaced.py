"""Other encoders in the trained one's place: against it where they agree, and against the model that they make."""

import dataclasses
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from diffenc_jax.diffusion.encoders import Trainable
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.lab.studies.encoder import replaced
from diffenc_jax.lab.studies.encoder.replaced import REPLACEMENTS, measure_bounds
from diffenc_jax.lab.studies.study import UNWATCHED
from diffenc_jax.model import build
from diffenc_jax.nets.network import ScoreNetwork
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.runs.records import read_record
from diffenc_jax.runs.trained import Trained
from diffenc_jax.runs.workdir import write_config
from tests import tiny
from tests.lab.studies.runs import write_images

TERMS = ("reconstruction", "latent", "diffusion", "total")


class Affine(ScoreNetwork):
    """A network that compiles fast, affine in x and time, with parameters of about `scale`."""

    scale: float

    @nn.compact
    def __call__(self, x, time, dropout_key=None):
        draw = nn.initializers.normal(self.scale)
        time = jnp.broadcast_to(time[:, None, None, None], x.shape)
        return nn.Dense(1, kernel_init=draw, bias_init=draw)(jnp.concatenate([x, time], axis=-1))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose encoder network gives y = 0, and so x_t = α² x."""
    folder = tmp_path_factory.mktemp("off")
    source = str(write_images(folder / "images.npz"))
    config = tiny.config("diffenc", data__source=source, eval__passes=4, eval__time_sampling="uniform")
    write_config(folder, config)
    parts = Experiment.load(config)
    model = dataclasses.replace(parts.model, score=Affine(0.5), encoder=Trainable(Affine(0.0)))
    parts = vars(parts) | {"model": model}
    return Trained(**parts, workdir=folder, step=1, steps=[1], params=model.init(jax.random.key(0)))


@pytest.fixture(scope="module")
def found(run):
    return measure_bounds(run, UNWATCHED)[0]


@pytest.fixture(scope="module")
def paths(run, found):
    """The records by encoder; finished ones are not evaluated again."""
    batches = []
    again, paths = measure_bounds(run, lambda text, total: nullcontext(lambda: batches.append(text)))
    assert again == found
    assert not batches
    return paths


def values(path):
    with np.load(path.with_suffix(".npz")) as archive:
        return dict(archive)


def test_an_encoder_that_does_what_another_does_has_its_bound(found):
    assert list(found) == ["trained", "identity", "nontrainable", "vdm"]
    for term in TERMS:
        assert found["nontrainable"]["bpd"][term] == pytest.approx(found["trained"]["bpd"][term], rel=1e-5)
        assert found["nontrainable"]["difference"][term][1] < 1e-5
    assert abs(found["identity"]["difference"]["diffusion"][0]) > 1e-3


def test_an_encoder_that_leaves_x_alone_has_the_identitys_bound_with_the_drift(run, tmp_path, monkeypatch):
    """With y = x, x_t = x and its slope is 0, while the generative mean drifts as it was trained to."""

    class Copying(Trainable):
        def output(self, x, gamma):
            return x

    monkeypatch.setattr(replaced, "REPLACEMENTS", {"identity": REPLACEMENTS["identity"]})
    workdir = tmp_path / "copying"
    workdir.mkdir()
    write_config(workdir, run.config)
    model = dataclasses.replace(run.model, encoder=Copying(Affine(0.0)))
    found, _ = measure_bounds(dataclasses.replace(run, model=model, workdir=workdir), UNWATCHED)
    for term in TERMS:
        assert found["identity"]["bpd"][term] == pytest.approx(found["trained"]["bpd"][term], rel=1e-5)


def test_without_the_drift_it_is_a_vdm(run, found, paths):
    """VDM with the same score network; only the diffusion term depends on the drift."""
    config = tiny.config("vdm", eval__passes=4, eval__time_sampling="uniform")
    model = dataclasses.replace(build(config, run.model.spec), score=run.model.score)
    params = {name: run.params[name] for name in ("score", "schedule")}
    vdm = Evaluator(Experiment(config, run.dataset, run.mesh, model)).evaluate(params)
    for term in TERMS:
        assert found["vdm"]["bpd"][term] == pytest.approx(vdm["bpd"][term], rel=1e-5)
    assert read_record(paths["vdm"])["params"] == vdm["params"]
    identity = found["identity"]["bpd"]
    assert (identity["reconstruction"], identity["latent"]) == pytest.approx(
        (vdm["bpd"]["reconstruction"], vdm["bpd"]["latent"]), rel=1e-5
    )
    assert abs(identity["diffusion"] / vdm["bpd"]["diffusion"] - 1) > 1e-3


def test_differences_are_paired_by_image_and_noise(found, paths):
    """Recomputed from the values, two passes in each of two replicates."""
    trained, other = (values(paths[name]) for name in ("trained", "identity"))
    np.testing.assert_array_equal(trained["t"], other["t"])
    change = (other["diffusion"] - trained["diffusion"]) / (16 * np.log(2))
    mean, error = found["identity"]["difference"]["diffusion"]
    assert (mean, error) == pytest.approx((change.mean(), change.mean(axis=0).std(ddof=1) / np.sqrt(13)))
    total = found["identity"]["bpd"]["total"] - found["trained"]["bpd"]["total"]
    assert total == pytest.approx(found["identity"]["difference"]["total"][0])


def test_records_name_the_encoder(found, paths):
    for name, path in paths.items():
        record = read_record(path)
        assert record["estimator"].get("encoder", "trained") == name
        assert record["bpd"] == found[name]["bpd"]


def test_fitted_steps_are_those_of_the_trained_encoder(run, monkeypatch):
    """They are variances of the generative model, which stays the same."""
    monkeypatch.setattr(replaced, "REPLACEMENTS", {"identity": REPLACEMENTS["identity"]})
    config = run.config.replace({"loss.depth": 2, "loss.variance_ratio": "optimal"})
    model = dataclasses.replace(run.model, loss=config.loss)
    _, paths = measure_bounds(dataclasses.replace(run, config=config, model=model), UNWATCHED)
    trained, identity = (values(paths[name]) for name in ("trained", "identity"))
    assert np.all(trained["ratio"] < 1)
    np.testing.assert_array_equal(identity["ratio"], trained["ratio"])
    assert np.all(identity["diffusion"] != trained["diffusion"])
