"""A trained run is opened with its configuration, its images and the parameters of a checkpoint."""

import shutil

import jax
import numpy as np
import pytest

import diffenc_jax as dj
from diffenc_jax.core.errors import InputError, RunError
from diffenc_jax.runs.stored import StoredRun
from tests import tiny
from tests.stored_runs import write_averages


def parameters(config, step):
    """Parameters that differ between steps."""
    return tiny.drawn(tiny.model(config), seed=step)


@pytest.fixture(scope="module")
def workdir(images, tmp_path_factory):
    """A run of two checkpoints."""
    config = tiny.config("vdm", small=True, data__source=images)
    by_step = {step: parameters(config, step) for step in (4, 8)}
    return write_averages(tmp_path_factory.mktemp("run"), config, by_step)


def assert_holds(run, step):
    assert run.checkpoint == step
    jax.tree.map(np.testing.assert_array_equal, run.params, parameters(run.config, step))


def test_the_newest_checkpoint_is_opened_and_the_others_can_be(workdir):
    run = dj.open(workdir)
    assert run.checkpoints == [4, 8]
    assert_holds(run, 8)
    assert_holds(run.at(4), 4)
    assert run.at(8) is run
    np.testing.assert_array_equal(run.dataset.split("test").data, tiny.images(8, seed=1))
    assert run.model.spec == tiny.SPEC


def test_split_and_loss_may_be_chosen(workdir):
    np.testing.assert_array_equal(dj.open(workdir, {"eval.split": "train"}).test, tiny.images(20))
    assert dj.open(workdir, {"loss.depth": 5}).model.loss.depth == 5


def test_a_damaged_checkpoint_is_passed_over(workdir, tmp_path, capsys):
    workdir = shutil.copytree(workdir, tmp_path / "run")
    (workdir / "checkpoints" / "8" / "ema" / "manifest.ocdbt").write_bytes(b"")
    run = dj.open(workdir)
    assert (run.checkpoint, run.checkpoints) == (4, [4])
    assert "the checkpoint of step 8 is damaged" in capsys.readouterr().err
    with pytest.raises(RunError, match="step 8 is damaged"):
        run.at(8)


def test_runs_of_another_configuration_or_without_checkpoints_are_refused(workdir, images, tmp_path):
    with pytest.raises(InputError, match="another configuration: seed=1"):
        dj.open(workdir, config=tiny.config("vdm", small=True, data__source=images, seed=1))
    StoredRun(tmp_path).write(tiny.config("vdm"))
    with pytest.raises(InputError, match="holds no checkpoint yet"):
        dj.open(tmp_path)
