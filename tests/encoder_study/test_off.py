"""Other encoders in the trained one's place: against it where they are the same, and against the model they make."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

from diffenc_jax import workdir as workdirs
from diffenc_jax.data.dataset import load
from diffenc_jax.diffusion.encoders import Trainable
from diffenc_jax.encoder_study import off
from diffenc_jax.evaluate import Evaluator
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.sharding import make_mesh
from diffenc_jax.trained import Trained
from tests import tiny

FOLDER = "encoder_study"
TERMS = ("reconstruction", "latent", "diffusion", "total")


def ignore(name, evaluator):
    return lambda: None


class Affine(nn.Module):
    """A network that compiles at once, affine in x and time, with parameters of about `scale`."""

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
    np.savez(folder / "images.npz", train=tiny.images(20), test=tiny.images(13, seed=1))
    config = tiny.config(
        "diffenc", data__source=str(folder / "images.npz"), eval__passes=4, eval__time_sampling="uniform"
    )
    workdirs.claim(folder / "run", config)
    model = build(config, ImageSpec((4, 4, 1), tiny.LEVELS))
    model = dataclasses.replace(model, score=Affine(0.5), encoder_net=Affine(0.0))
    dataset = load(config, "train", "test")
    return Trained(config, folder / "run", 1, [1], make_mesh(), dataset, model, model.init(jax.random.key(0)))


@pytest.fixture(scope="module")
def found(run):
    return off.study(run, FOLDER, ignore)


def values(run, name):
    with np.load(run.workdir / FOLDER / name) as archive:
        return dict(archive)


def record(run, entry):
    return json.loads((run.workdir / FOLDER / entry["record"]).read_text())


def test_an_encoder_that_does_what_another_does_has_its_bound(found):
    assert list(found) == ["trained", "identity", "nontrainable", "vdm"]
    for term in TERMS:
        assert found["nontrainable"]["bpd"][term] == pytest.approx(found["trained"]["bpd"][term], rel=1e-5)
        assert found["nontrainable"]["difference"][term]["standard_error"]["total"] < 1e-5
    assert abs(found["identity"]["difference"]["diffusion"]["mean"]) > 1e-3


def test_an_encoder_that_leaves_x_alone_has_the_identitys_bound_with_the_drift(run, monkeypatch):
    """With y = x, x_t = x and its slope is 0, while the generative mean drifts as it was trained to."""

    class Copying(Trainable):
        def output(self, x, gamma):
            return x

    monkeypatch.setattr(off, "OFF", {name: off.OFF[name] for name in ("identity",)})
    copying = dataclasses.replace(run, model=dataclasses.replace(run.model, encoder_kind=Copying))
    found = off.study(copying, "copying", ignore)
    for term in TERMS:
        assert found["identity"]["bpd"][term] == pytest.approx(found["trained"]["bpd"][term], rel=1e-5)


def test_without_the_drift_it_is_a_vdm(run, found):
    """Of the same score network; only the diffusion term knows of the drift."""
    config = tiny.config("vdm", eval__passes=4, eval__time_sampling="uniform")
    model = dataclasses.replace(build(config, run.model.spec), score=run.model.score)
    evaluator = Evaluator(model, config, run.dataset, run.mesh)
    workdirs.claim(run.workdir / "vdm", config)
    params = {name: run.params[name] for name in ("score", "schedule")}
    vdm = evaluator.record(params, run.step, run.workdir / "vdm")
    for term in TERMS:
        assert found["vdm"]["bpd"][term] == pytest.approx(vdm["bpd"][term], rel=1e-5)
    assert record(run, found["vdm"])["params"] == vdm["params"]
    identity = found["identity"]["bpd"]
    assert (identity["reconstruction"], identity["latent"]) == pytest.approx(
        (vdm["bpd"]["reconstruction"], vdm["bpd"]["latent"]), rel=1e-5
    )
    assert abs(identity["diffusion"] / vdm["bpd"]["diffusion"] - 1) > 1e-3


def test_differences_are_paired_by_image_and_noise(run, found):
    """Of the values themselves, two passes in each of two replicates."""
    trained, other = (values(run, f"test-1-continuous-uniform_sampling{name}.npz") for name in ("", "-identity"))
    np.testing.assert_array_equal(trained["t"], other["t"])
    change = (other["diffusion"] - trained["diffusion"]) / (16 * np.log(2))
    difference = found["identity"]["difference"]["diffusion"]
    assert difference["mean"] == pytest.approx(change.mean())
    by_image = change.mean(axis=0)
    assert difference["standard_error"]["total"] == pytest.approx(by_image.std(ddof=1) / np.sqrt(13))
    assert found["identity"]["bpd"]["total"] - found["trained"]["bpd"]["total"] == pytest.approx(
        found["identity"]["difference"]["total"]["mean"]
    )


def test_records_say_which_encoder_they_are_of(run, found):
    assert "encoder" not in record(run, found["trained"])["estimator"]
    for name in off.OFF:
        entry = found[name]
        assert entry["record"] == f"test-1-continuous-uniform_sampling-{name}.json"
        assert record(run, entry)["estimator"]["encoder"] == name
        assert record(run, entry)["bpd"] == entry["bpd"]


def test_what_is_there_is_not_evaluated_again(run, found):
    calls = []
    again = off.study(run, FOLDER, lambda name, evaluator: lambda: calls.append(name))
    assert again == found
    assert not calls


def test_fitted_steps_are_those_of_the_trained_encoder(run, monkeypatch):
    """Else the generative model, whose variances they are, would be another."""
    monkeypatch.setattr(off, "OFF", {name: off.OFF[name] for name in ("identity",)})
    loss = dataclasses.replace(run.model.loss, depth=2, variance_ratio="optimal")
    config = ConfigDict(run.config.to_dict() | {"loss": dataclasses.asdict(loss)})
    model = dataclasses.replace(run.model, loss=loss)
    off.study(dataclasses.replace(run, config=config, model=model), FOLDER, ignore)
    trained, identity = (values(run, f"test-1-depth2-optimal-uniform_sampling{name}.npz") for name in ("", "-identity"))
    assert np.all(trained["ratio"] < 1)
    np.testing.assert_array_equal(identity["ratio"], trained["ratio"])
    assert np.all(identity["diffusion"] != trained["diffusion"])
