"""Outputs of a training run: rows of metrics.jsonl survive the failures of other writers."""

import os
import threading
from functools import partial

import numpy as np
from clu.metric_writers import MultiWriter

from diffenc_jax.runs.metrics import read_metrics
from diffenc_jax.train.writer import Background, Guard, JsonLines, TensorBoard, Writer
from tests import ROOT, tiny
from tests.processes import QUICKLY_COMPILED, python
from tests.tensorboard import hyperparameters, shown


def writer_of(workdir, part, start=0):
    return MultiWriter([JsonLines(workdir, start), Background(Guard("mine", partial(part, str(workdir))))])


def test_values_keep_their_digits_and_pixels(tmp_path):
    """A resumed run continues them, in a file of its own."""
    grey, coloured = (np.random.RandomState(c).randint(0, 256, (5, 7, c)).astype(np.uint8) for c in (1, 3))
    writer = writer_of(tmp_path, TensorBoard)
    writer.write_scalars(4, {"train/bpd": 1.5})
    writer.write_hparams({"seed": 7, "train.augment": None, "eval.splits": ("a", "b")})
    writer.close()
    writer = writer_of(tmp_path, TensorBoard, start=4)
    writer.write_texts(4, {"config": "{}"})
    writer.write_scalars(20, {"train/bpd": 1.25})
    writer.write_scalars(20, {"eval/test_total": 3.0})
    writer.write_images(20, {"grey": grey, "coloured": coloured})
    writer.close()
    values = shown(tmp_path)
    np.testing.assert_array_equal(values.pop(("grey", 20)), grey)
    np.testing.assert_array_equal(values.pop(("coloured", 20)), coloured)
    expected = {("train/bpd", 4): 1.5, ("train/bpd", 20): 1.25, ("eval/test_total", 20): 3.0, ("config", 4): "{}"}
    assert values == expected
    assert hyperparameters(tmp_path) == {"seed": 7, "train.augment": "", "eval.splits.0": "a", "eval.splits.1": "b"}
    rows = [{"step": 4, "bpd": 1.5}, {"step": 20, "bpd": 1.25}, {"step": 20, "test_total": 3.0}]
    assert read_metrics(tmp_path) == rows


def test_a_run_that_writes_nothing_leaves_no_file(tmp_path):
    writer_of(tmp_path, TensorBoard).close()
    assert not list(tmp_path.iterdir())


def test_values_are_written_before_and_after_a_disk_is_full(tmp_path, small_disk, capsys):
    """The other writer, on a disk with space, loses none."""
    disk, toggle = small_disk
    writer = MultiWriter([JsonLines(tmp_path, 0), Guard("tensorboard", partial(TensorBoard, str(disk)))])
    for step in range(1, 101):
        if step in (31, 71):
            toggle()
        writer.write_scalars(step, {f"train/{name}": float(step) for name in "abcdefghijklmnop"})
    writer.close()
    assert capsys.readouterr().err.count("loses values: No space left on device (free some space)") == 1
    assert {*range(1, 30), *range(71, 101)} <= {step for _, step in shown(disk, whole=False)}
    assert [row["step"] for row in read_metrics(tmp_path)] == [*range(1, 101)]


def test_a_writer_that_ends_the_program_loses_its_values_with_one_warning(tmp_path, capsys):
    class Exiting(Writer):
        def write_scalars(self, step, scalars):
            raise SystemExit

    writer = writer_of(tmp_path, Exiting)
    for step in range(1, 4):
        writer.write_scalars(step, {"train/a": 1.0})
    writer.close()
    warning = "warning: log.writers=mine loses values: it ends the program by SystemExit()\n"
    assert capsys.readouterr().err == warning
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3]


def test_flush_waits_for_no_other_writer(tmp_path):
    class Slow(Writer):
        def write_scalars(self, step, scalars):
            assert release.wait(60)
            written.append(step)

        def flush(self):
            written.append("flush")

    release, written = threading.Event(), []
    writer = writer_of(tmp_path, Slow)
    writer.write_scalars(1, {"train/bpd": 1.0})
    writer.flush()
    assert read_metrics(tmp_path) == [{"step": 1, "bpd": 1.0}]
    assert written == []
    release.set()
    writer.close()
    assert written == [1, "flush"]


def test_only_tensorboard_imports_tensorflow(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('it is not needed')")
    (tmp_path / "tiny_config.py").write_text(tiny.FILE)
    program = "import sys; from diffenc_jax.__main__ import main; sys.exit(sum(main(w.split()) for w in sys.argv[1:]))"
    words = [f"train --config={tmp_path / 'tiny_config.py'}:vdm --workdir=run --config.train.steps=3"]
    words += ["eval run --config.eval.passes=2", "sample run --config.sample.num=2"]
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "XLA_FLAGS": QUICKLY_COMPILED}
    assert "warning" not in python("-c", program, *words, cwd=tmp_path, **environment).stderr
