"""The caution after a training whose networks learn the training data by heart."""

import shutil

import numpy as np
import pytest

import diffenc_jax as dj
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.train import overfitting
from tests.logs import logged

CHANGES = {
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
    run = dj.Run("arrays:vdm", CHANGES | {"data.source": str(folder / "data.npz")})
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
