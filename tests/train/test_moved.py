"""Runs that are moved, with their data or without them, and go on elsewhere."""

import numpy as np
import pytest

import diffenc_jax as dj
from diffenc_jax.__main__ import main
from diffenc_jax.runs.stored import StoredRun
from tests import tiny
from tests.refusals import refused
from tests.stored_runs import change

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
    for message, (train, test) in wrong.items():
        np.savez(tmp_path / "other.npz", train=train, test=test)
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
