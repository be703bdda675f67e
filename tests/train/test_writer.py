"""TensorBoard's files hold what was written, and their failures cost a run nothing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from diffenc_jax.train import writer
from diffenc_jax.train.writer import TensorBoardWriter
from tests import tiny
from tests.tensorboard import shown
from tests.xla_flags import QUICKLY_COMPILED

ROOT = Path(__file__).parents[2]


def test_numbers_and_pictures_keep_their_pixels(tmp_path):
    """A resumed run continues them, in a file of its own."""
    grey, coloured = (np.random.RandomState(c).randint(0, 256, (5, 7, c)).astype(np.uint8) for c in (1, 3))
    with TensorBoardWriter(tmp_path) as tensorboard:
        tensorboard.write(4, {"train/bpd": 1.5}, {})
    with TensorBoardWriter(tmp_path) as tensorboard:
        tensorboard.write(20, {"train/bpd": 1.25}, {})
        tensorboard.write(20, {"eval/test_total": 3.0}, {"grey": grey, "coloured": coloured})
    values = shown(tmp_path)
    np.testing.assert_array_equal(values.pop(("grey", 20)), grey)
    np.testing.assert_array_equal(values.pop(("coloured", 20)), coloured)
    assert values == {("train/bpd", 4): 1.5, ("train/bpd", 20): 1.25, ("eval/test_total", 20): 3.0}


def test_a_run_that_writes_no_point_leaves_no_file(tmp_path):
    with TensorBoardWriter(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_failure_is_a_warning_and_the_next_point_is_written(tmp_path, monkeypatch, capsys):
    class Full(writer.EventFile):
        def write(self, step, *points):
            if step == 2:
                raise OSError("No space left on device")
            super().write(step, *points)

    monkeypatch.setattr(writer, "EventFile", Full)
    with TensorBoardWriter(tmp_path) as tensorboard:
        for step in (1, 2, 3):
            tensorboard.write(step, {"train/bpd": 1.0}, {})
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert warnings == ["warning: TensorBoard's files are incomplete: No space left on device (free some space)"]
    assert shown(tmp_path).keys() == {("train/bpd", 1), ("train/bpd", 3)}


def test_training_needs_no_tensorflow(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('not for this Python')")
    (tmp_path / "tiny_config.py").write_text(tiny.FILE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))}
    environment["XLA_FLAGS"] = QUICKLY_COMPILED
    command = [sys.executable, "-m", "diffenc_jax", "train", f"--config={tmp_path / 'tiny_config.py'}:vdm"]
    command += ["--workdir=run", "--config.train.steps=3"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert {("train/bpd", 3), ("eval/test_total", 3), ("eval/samples", 3)} <= shown(tmp_path / "run").keys()
