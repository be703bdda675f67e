"""Whole runs of a tiny model: stopped and resumed, poisoned, refused."""

import json
import os
import shutil
import signal
from functools import partial
from unittest import mock

import jax
import numpy as np
import optax
import pytest

from diffenc_jax.core import versions
from diffenc_jax.core.errors import InputError, Interrupted, RunError
from diffenc_jax.diffusion.losses import TERMS
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.runs.records import read_values
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.train import loop
from tests import tiny
from tests.tensorboard import hyperparameters, shown
from tests.train.running import assert_same_run, logged, shared_program, train


def config(images, **changes):
    settings = {"data__source": images, "eval__time_sampling": "uniform", "log__writers": ("tensorboard",)}
    return tiny.config("vdm", small=True, **(settings | changes))


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    """Trainings share what they compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "TrainingProgram", shared_program)
        yield


def evaluated(workdir, step):
    """The record and the arrays of the evaluation at `step`."""
    (path,) = (workdir / "eval").glob(f"test-{step}-continuous-*.json")
    return json.loads(path.read_text()), read_values(path)


def test_a_run_leaves_what_the_design_promises(unbroken):
    record, arrays = evaluated(unbroken, 8)
    assert all(arrays[name].shape == (2, 8) for name in (*TERMS, "t", "weight"))
    total = record["bpd"]["total"]
    assert total == pytest.approx(sum(arrays[name].mean() for name in TERMS) / (16 * np.log(2)))
    assert record["dataset"]["num_examples"] == 8
    assert (record["step"], record["seed"], record["arm"]) == (8, 0, "vdm")
    assert [row["step"] for row in logged(unbroken)] == [3, 6, 8]
    assert logged(unbroken)[-1]["test_total"] == pytest.approx(total)
    points = shown(unbroken)
    assert points["eval/test_total", 8] == pytest.approx(total)
    assert {("train/bpd", 3), ("train/grad_norm", 6)} <= points.keys()
    assert {"loss.depth": "", "train.steps": 8}.items() <= hyperparameters(unbroken).items()
    assert json.loads(points["config", 0].strip("`"))["train"]["steps"] == 8
    assert f"Total: {record['params']:,} " in points["parameters", 0]
    stored = json.loads((unbroken / "config.json").read_text())
    assert stored["train"]["steps"] == 8
    assert stored["environments"] == [{name: record[name] for name in ("device", "software", "parts")}]


def test_a_resumed_run_is_that_of_an_unbroken_one(unbroken, images, tmp_path, capsys):
    """Five of eight steps, amid an epoch and between two logs; then the rest, and no checkpoint of the other run."""
    train(config(images, train__steps=5), tmp_path / "run")
    shutil.copytree(unbroken / "checkpoints" / "8", tmp_path / "run" / "checkpoints" / "8")
    (tmp_path / "run" / "metrics.jsonl").open("a").write('{"step": 6, "bpd": 1.0}\n{"st')  # as a crash would leave it
    train(config(images), tmp_path / "run")
    output = capsys.readouterr()
    assert "the checkpoint of step 8 is damaged: it is of another run" in output.err
    assert "resuming from step 5" in output.out
    assert_same_run(tmp_path / "run", unbroken, except_steps=[5])  # the evaluation at step 5
    pace = "train/images_per_second"  # which the first step after a start does not have
    resumed, whole = (
        {point for point in shown(folder) if point[1] not in (0, 5) and point[0] != pace}
        for folder in (tmp_path / "run", unbroken)
    )
    assert resumed == whole


def test_a_run_whose_samples_cannot_be_drawn_is_the_same(unbroken, images, tmp_path, capsys):
    def draw(params, on_part):
        raise RunError("the solver gave up")

    train(config(images), tmp_path / "run", draw)
    assert_same_run(tmp_path / "run", unbroken)
    assert "no samples of step 8: the solver gave up" in capsys.readouterr().out


def test_a_signal_stops_the_drawing_of_samples(images, tmp_path, capsys, monkeypatch):
    """The state is saved; the run that resumes draws the samples again, of the same parameters.

    It resumes under other versions, and says so.
    """
    drawn, settings, here = [], config(images, eval__every_steps=4), versions.environment({})

    def draw(params, on_part):
        drawn.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]))
        if len(drawn) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        on_part(1.0)
        return np.full((2, 2, 1), len(drawn), np.uint8)

    with pytest.raises(Interrupted):
        train(settings, tmp_path / "run", draw)
    assert StoredRun(tmp_path / "run").steps()[-1] == 4
    newer, libtpu = here["software"] | {"jax": "99.1", "libtpu": "3.0"}, here["software"].get("libtpu", "none")
    monkeypatch.setattr(versions, "software", lambda: newer)
    state, _ = train(settings, tmp_path / "run", draw)
    (said,) = (line for line in capsys.readouterr().out.splitlines() if "other versions" in line)
    assert f": jax {jax.__version__} -> 99.1, libtpu {libtpu} -> 3.0; " in said
    assert StoredRun(tmp_path / "run").origin.environments == [here, here | {"software": newer}]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert len(drawn) == 3
    np.testing.assert_array_equal(drawn[2], np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.ema)]))
    values = shown(tmp_path / "run")
    assert [int(values["eval/samples", step][0, 0, 0]) for step in (4, 8)] == [2, 3]
    assert ("eval/test_total", 4) in values


def test_a_signal_saves_first(unbroken, images, tmp_path):
    """Amid training; the run resumes to the same end."""

    def stop(step):
        if step == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted) as stopped:
        train(config(images), tmp_path / "run", before_step=stop)
    assert stopped.value.signal == signal.SIGTERM
    assert StoredRun(tmp_path / "run").steps()[-1] == 3
    train(config(images), tmp_path / "run")
    assert_same_run(tmp_path / "run", unbroken)


def test_a_second_run_of_a_finished_one_adds_nothing(unbroken, images, capsys):
    before = {p: p.stat().st_mtime_ns for p in (unbroken / "checkpoints").rglob("*") if p.is_file()}
    rows = logged(unbroken)
    train(config(images), unbroken)
    assert before == {p: p.stat().st_mtime_ns for p in (unbroken / "checkpoints").rglob("*") if p.is_file()}
    assert logged(unbroken) == rows
    first, images_of, second, *_ = capsys.readouterr().out.splitlines()
    record, _ = evaluated(unbroken, 8)
    assert first == f"tiny:vdm, seed 0, {record['params']:,} parameters, on {record['device']}, in {unbroken}"
    assert images_of == f"images: {images}, version local, 20 for training"
    assert second == f"resuming from step 8 of {unbroken}"


def test_a_run_killed_between_a_save_and_its_evaluation_makes_up_for_it(images, tmp_path):
    settings = config(images, eval__every_steps=4)
    train(settings, tmp_path / "unbroken")
    with mock.patch.object(Evaluator, "record", side_effect=SystemExit), pytest.raises(SystemExit):
        train(settings, tmp_path / "run")
    assert [row["step"] for row in logged(tmp_path / "run")] == [3]
    train(settings, tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "unbroken")
    assert {("eval/test_total", 4), ("train/bpd", 6)} <= shown(tmp_path / "run").keys()


REFUSED = [
    ({"log__writers": ("tensorbord",)}, "unknown writer 'tensorbord', perhaps tensorboard"),
    ({"data__source": "nowhere"}, "neither a known data set"),
    ({"loss__depth": 4, "loss__times": "optimal", "fit__images": 21}, "exceeds the 20 training images"),
    ({"train__time_sampling": "importance", "model__schedule__kind": "monotone"}, "is not for model.schedule"),
    ({"train__optimizer__kind": "optax:keyed"}, r"opt_state/.* is of dtype key<\w+>, which has no checksum"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_bad_input_leaves_no_trace(images, tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr(optax, "keyed", partial(optax.noisy_sgd, key=jax.random.key(0)), raising=False)
    with pytest.raises(InputError, match=message) as caught:
        train(config(images, **changes), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_whose_newest_checkpoint_is_damaged_makes_its_later_steps_anew(images, tmp_path):
    workdir, settings = tmp_path / "run", config(images, eval__every_steps=4)
    train(settings, workdir)
    first = evaluated(workdir, 8)[0]
    for file in (workdir / "checkpoints" / "8" / "state" / "d").iterdir():
        file.write_bytes(b"")
    train(settings, workdir)
    again = evaluated(workdir, 8)[0]
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert evaluated(workdir, 4)[0]["step"] == 4
