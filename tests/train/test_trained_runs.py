"""Trained runs: evaluated and sampled at any depth, moved elsewhere, and cautioned if they overfit."""

import shutil

import numpy as np
import pytest

import diffenc_jax as dj
from diffenc_jax.__main__ import main
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.train import overfitting
from tests import tiny
from tests.refusals import refused
from tests.stored_runs import change
from tests.train.running import logged, train


def config(images, arm="diffenc", **changes):
    return tiny.config(arm, small=True, **{"data__source": images, **changes})


def evaluate(config, workdir):
    """The record and the arrays of the newest checkpoint."""
    run = dj.open(workdir, config=config)
    path, record, *_ = run.evaluator.record(run.params, run.checkpoint, run.stored)
    with np.load(path.with_suffix(".npz")) as arrays:
        return record, dict(arrays)


@pytest.mark.slow
def test_a_run_is_evaluated_and_sampled_at_any_depth(unbroken, images):
    """At a constant ratio, and with everything that is fitted."""
    fitted = {"loss__depth": 3, "loss__variance_ratio": "optimal_pixel", "loss__times": "optimal"}
    plain = {"loss__depth": 5, "eval__time_sampling": "uniform"}
    changes = {"plain": plain, "ratio": plain | {"loss__variance_ratio": 0.9}, "fitted": fitted}
    bits = {}
    for name, changed in changes.items():
        record, _ = evaluate(config(images, **changed), unbroken)
        assert record["config_hash"] == config(images).hash
        bits[name] = record["bpd"]
    # Under the same noise a ratio w changes the cost of a step from u/2 to (w - 1 - ln w + w u)/2 per dimension.
    shift = 5 * (0.9 - 1 - np.log(0.9)) / (2 * np.log(2))
    assert bits["ratio"]["diffusion"] == pytest.approx(0.9 * bits["plain"]["diffusion"] + shift, rel=1e-4)
    assert bits["fitted"]["total"] < bits["plain"]["total"]
    assert dj.open(unbroken, config=config(images, **fitted)).sample(num=2).shape == (2, 4, 4, 1)


@pytest.mark.slow
def test_a_learned_ratio_is_trained_evaluated_and_sampled(images, tmp_path):
    learned = {"loss__depth": 4, "loss__variance_ratio": "learned", "sample__depth": 4, "train__steps": 3}
    _, record = train(config(images, "vdm", **learned), tmp_path / "run")
    assert record["estimator"]["variance_ratio"] == "learned"
    assert np.isfinite(record["bpd"]["total"])
    _, arrays = evaluate(config(images, "vdm", **learned), tmp_path / "run")
    # The error of a step is far above 1 at first, so that its ratio falls.
    assert np.all(arrays["ratio"] < 1)
    assert dj.open(tmp_path / "run").sample(num=2).shape == (2, 4, 4, 1)


TRAIN, TEST = tiny.images(32), tiny.images(8, seed=1)
CHANGES = {"data.source": "images.npz", "eval.time_sampling": "uniform", "train.steps": 2, "log.writers": []}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder that was renamed since a run was trained in it on a file beside; and the record of the run."""
    top = tmp_path_factory.mktemp("top")
    (top / "before").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top / "before")
        np.savez("images.npz", train=TRAIN, test=TEST)
        _, record = dj.Run(tiny.config("vdm", small=True), CHANGES).fit("runs/a")
    return (top / "before").rename(top / "after"), record


def test_the_data_of_a_renamed_folder_are_found(project):
    folder, record = project
    found = dj.open(folder / "runs/a").evaluate()
    assert (found["bpd"], found["config_hash"]) == (record["bpd"], record["config_hash"])
    assert found["dataset"] == record["dataset"] | {"name": str(folder / "images.npz")}


@pytest.fixture
def elsewhere(project, tmp_path):
    """The run without its data, and the file elsewhere."""
    source, place = project[0] / "images.npz", tmp_path / "data.npz"
    source.rename(place)
    yield project[0] / "runs/a", place
    place.rename(source)


def test_data_that_are_given_are_those_of_the_run(elsewhere, project, tmp_path, capsys):
    """By their digests; a split without a digest has a note."""
    run, place = elsewhere
    assert dj.open(run, data=place).evaluate()["bpd"] == project[1]["bpd"]
    assert f"{run} was trained on images.npz, which is not here" in refused(main, ["eval", str(run)], capsys)
    wrong = {"was trained on other images": (TRAIN[::-1], TEST), "on another split 'test'": (TRAIN, TEST[::-1])}
    for message, (other, test) in wrong.items():
        np.savez(tmp_path / "other.npz", train=other, test=test)
        given = ["eval", str(run), f"--data={tmp_path / 'other.npz'}", "--config.eval.time_sampling=importance"]
        assert message in refused(main, given, capsys)
    digests = StoredRun(run).origin.evaluation_data
    change(run / "config.json", evaluation_data={})
    noted = dj.open(run, data=place).evaluate()["dataset"]
    change(run / "config.json", evaluation_data=digests)
    assert noted["note"] == "found elsewhere than in the training, without a digest to compare it with"
    assert "note" not in dj.open(run, data=place).evaluate()["dataset"]


def test_training_goes_on_by_the_folder_of_the_run(elsewhere, capsys):
    run, place = elsewhere
    command = ["train", str(run), f"--data={place}"]
    assert main([*command, "--config.train.steps=3"]) == 0
    assert StoredRun(run).steps()[-1] == 3
    assert StoredRun(run).config.data.source == "images.npz"
    assert "holds a run of another configuration: model.target" in refused(
        main, [*command, "--config.model.target=image"], capsys
    )


OVERFITTING = {
    "model.score": {"kind": "mlp", "width": 64, "layers": 2, "dropout": 0.0, "fourier_bins": ()},
    "train.steps": 600,
    "train.batch_size": 32,
    "train.learning_rate": 3e-3,
    "train.ema_decay": 0.98,
    "data.shuffle_shards": 4,
    "checkpoint.every_steps": 100,
    "log.every_steps": 100,
    "log.writers": (),
    "eval.every_steps": 100,
    "eval.time_sampling": "uniform",
}


def fit(folder, data, capsys):
    """Workdir, last record and caution of a run on six features."""
    np.savez(folder / "data.npz", **data)
    run = dj.Run("arrays:vdm", OVERFITTING | {"data.source": str(folder / "data.npz")})
    _, record = run.fit(folder / "run")
    lines = capsys.readouterr().out.splitlines()
    return folder / "run", record, [line for line in lines if line.startswith("caution: ")]


def test_a_rise_that_training_does_not_see_is_a_caution(tmp_path, capsys):
    """It names the step with the least, which can be opened."""
    x = np.random.RandomState(0).normal(size=(128, 6))
    workdir, last, (line,) = fit(tmp_path, {"train": x[:32], "test": x[32:]}, capsys)
    bits = {row["step"]: row["test_total"] for row in logged(workdir) if "test_total" in row}
    least = min(bits, key=bits.get)
    assert f"test bits/dim rise from {bits[least]:.4f} at step {least} to {bits[600]:.4f}, while those" in line
    assert f"`diffenc eval {workdir} --config.eval.checkpoints={least}`, or dj.open(...).at({least}), takes" in line
    assert dj.open(workdir).at(least).evaluate()["bpd"]["total"] == pytest.approx(bits[least])
    run = StoredRun(workdir)
    assert overfitting.caution(run, last) == line
    shutil.rmtree(workdir / "checkpoints" / str(least))
    assert "its checkpoint is not kept; give an eval.every_steps that is a" in overfitting.caution(run, last)


def test_enough_data_need_no_caution(tmp_path, capsys):
    x = np.random.RandomState(0).normal(size=(4096, 6))
    assert fit(tmp_path, {"train": x[:4000], "test": x[4000:]}, capsys)[2] == []
