"""TensorBoard's files hold what was written, once, and their failures cost a run nothing."""

import json
import os

import jax
import numpy as np
import pytest

from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.writer import TensorBoardWriter, known_points
from tests import tiny
from tests.tensorboard import shown

CONFIG = tiny.config(train__learning_rate=0.5, train__warmup_steps=10)
PARAMS = jax.eval_shape(build(CONFIG, ImageSpec((4, 4, 1), tiny.LEVELS)).init, jax.random.key(0))
ERRORS = {"noise": 0.25, "images": 0.5, "total": 0.75}
RECORD = {
    "dataset": {"split": "valid"},
    "bpd": {"total": 3.0, "latent": 1.0},
    "standard_error": {**ERRORS, "terms": {"latent": {"noise": None, "images": 0.125, "total": None}}},
}
ABOUT = {("_hparams_/session_start_info", 0), ("configuration", 0), ("parameters", 0)}


def writer(workdir, start=0):
    return TensorBoardWriter(workdir, CONFIG, PARAMS, start)


def numbers(workdir):
    return {name: value for name, value in shown(workdir).items() if isinstance(value, float)}


def test_numbers_are_grouped_and_evaluations_have_errors(tmp_path):
    with writer(tmp_path) as tensorboard:
        tensorboard.write_training(4, {"bpd": 1.5, "images_per_second": 8.0})
        tensorboard.write_training(20, {"bpd": 1.25})
        tensorboard.write_evaluation(20, RECORD, {})
    assert numbers(tmp_path) == pytest.approx(
        {
            ("train/bpd", 4): 1.5,
            ("train/images_per_second", 4): 8.0,
            ("train/learning_rate", 4): 0.5 * 3 / 10,
            ("train/bpd", 20): 1.25,
            ("train/learning_rate", 20): 0.5,
            ("eval/valid_total", 20): 3.0,
            ("eval/valid_total_se_noise", 20): 0.25,
            ("eval/valid_total_se_images", 20): 0.5,
            ("eval/valid_latent", 20): 1.0,
            ("eval/valid_latent_se_images", 20): 0.125,
        }
    )


def test_pictures_keep_their_pixels(tmp_path):
    grey, coloured = (np.random.RandomState(c).randint(0, 256, (5, 7, c)).astype(np.uint8) for c in (1, 3))
    with writer(tmp_path) as tensorboard:
        tensorboard.write_evaluation(4, RECORD, {"grey": grey, "coloured": coloured})
    np.testing.assert_array_equal(shown(tmp_path)["eval/grey", 4], grey)
    np.testing.assert_array_equal(shown(tmp_path)["eval/coloured", 4], coloured)


def test_a_run_is_described(tmp_path):
    """Hyperparameters are the scalars of the configuration; texts are all of it, and a table of the parameters."""
    with writer(tmp_path) as tensorboard:
        tensorboard.write_training(1, {"bpd": 1.0})
    values = shown(tmp_path)
    hyperparameters = values["_hparams_/session_start_info", 0]
    assert (hyperparameters["arm"], hyperparameters["train.learning_rate"]) == ("diffenc", 0.5)
    assert hyperparameters["model.derivative_head"] is False
    assert not {"loss.depth", "model.score.fourier_bins"} & set(hyperparameters)  # None, and a list
    text = values["configuration", 0]
    assert json.loads(text.removeprefix("```\n").removesuffix("\n```")) == CONFIG.to_dict()
    cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in values["parameters", 0].splitlines()]
    leaves = jax.tree_util.tree_leaves_with_path(PARAMS)
    named = {"/".join(part.key for part in path): str(leaf.shape) for path, leaf in leaves}
    assert {row[0]: row[1] for row in cells if row and row[0] != "Name"} == named
    assert f"Total: {sum(leaf.size for _, leaf in leaves):,} " in values["parameters", 0]


def test_a_resumed_run_writes_no_point_twice(tmp_path):
    """Not even those after the checkpoint that it resumes from, in a file whose last record a crash cut short."""
    with writer(tmp_path) as tensorboard:
        for step in (1, 2, 3):
            tensorboard.write_training(step, {"bpd": float(step)})
    (file,) = tmp_path.glob("events*")
    os.truncate(file, file.stat().st_size - 5)
    with pytest.raises(Exception, match="truncated"):
        shown(tmp_path)
    with writer(tmp_path, start=1) as tensorboard:
        for step in (2, 3, 4):
            tensorboard.write_training(step, {"bpd": 10.0 * step})
    file.rename(tmp_path / "broken")
    added = {("train/learning_rate", 3), ("train/bpd", 4), ("train/learning_rate", 4)}
    assert shown(tmp_path).keys() == added | {("configuration", 1), ("parameters", 1)}


def test_a_run_that_writes_no_point_leaves_no_file(tmp_path):
    with writer(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_failure_is_a_warning_and_the_next_point_is_written(tmp_path, monkeypatch, capsys):
    from clu import metric_writers

    class Full(metric_writers.SummaryWriter):
        def write_scalars(self, step, scalars):
            if step == 2:
                raise OSError("No space left on device")
            super().write_scalars(step, scalars)

    monkeypatch.setattr(metric_writers, "SummaryWriter", Full)
    with writer(tmp_path) as tensorboard:
        for step in (1, 2, 3):
            tensorboard.write_training(step, {"bpd": 1.0})
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert warnings == ["warning: TensorBoard's files are incomplete: No space left on device (free some space)"]
    points = {(name, step) for name in ("train/bpd", "train/learning_rate") for step in (1, 3)}
    assert shown(tmp_path).keys() == ABOUT | points


@pytest.mark.parametrize("length", [2**40, 2**63, 10**6])
def test_a_damaged_file_of_events_is_read_up_to_its_damage(tmp_path, length):
    """Even if a record states a length that no memory holds, with the right checksum."""
    with writer(tmp_path) as tensorboard:
        tensorboard.write_training(1, {"bpd": 1.0})
    (path,) = tmp_path.glob("events*")
    known = known_points(tmp_path)
    assert ("train/bpd", 1) in known
    with path.open("ab") as file:
        file.write(length.to_bytes(8, "little") + bytes(100))
    assert known_points(tmp_path) == known
    with path.open("ab") as file:
        file.write((3).to_bytes(8, "little") + bytes(100))
    (tmp_path / "events.out.tfevents.4").write_bytes((4).to_bytes(8, "little") + bytes(4) + b"\xff" * 4 + bytes(4))
    assert known_points(tmp_path) == known
