"""Whole runs of a tiny model: stopped and resumed, poisoned, refused."""

import json
import os
import shutil
import signal
import threading
import time

import jax
import numpy as np
import pytest

from diffenc_jax.core import versions
from diffenc_jax.core.errors import InputError, Interrupted, RunError
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.metrics import read_metrics
from diffenc_jax.runs.trained import open_trained
from diffenc_jax.runs.workdir import stored_origin
from tests import tiny
from tests.logs import logged
from tests.tensorboard import shown
from tests.train.running import assert_same_run, save_images, train


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"))


def config(images, **changes):
    return tiny.config("vdm", small=True, **{"data__source": images, **changes})


@pytest.fixture(scope="module")
def unbroken(images, tmp_path_factory):
    """A run of eight steps without a stop."""
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    train(config(images), workdir)
    return workdir


def evaluated(workdir, step):
    """The record and the arrays of the evaluation at `step`."""
    (path,) = (workdir / "eval").glob(f"test-{step}-continuous-*.json")
    with np.load(path.with_suffix(".npz")) as arrays:
        return json.loads(path.read_text()), dict(arrays)


def test_a_run_leaves_what_the_design_promises(unbroken):
    record, arrays = evaluated(unbroken, 8)
    means = {name: arrays[name].mean() for name in ("reconstruction", "latent", "diffusion")}
    assert all(arrays[name].shape == (2, 13) for name in (*means, "t", "weight"))
    bits = {name: mean / (16 * np.log(2)) for name, mean in means.items()}
    assert record["bpd"] == pytest.approx(bits | {"total": sum(bits.values())})
    assert record["dataset"]["num_examples"] == 13
    assert (record["step"], record["seed"], record["arm"]) == (8, 0, "vdm")
    assert [row["step"] for row in logged(unbroken)] == [3, 6, 8]
    assert logged(unbroken)[-1]["test_total"] == pytest.approx(sum(bits.values()))
    assert shown(unbroken)["eval/test_total", 8] == pytest.approx(sum(bits.values()))
    assert {("train/bpd", 3), ("train/learning_rate", 6), ("eval/test_latent_se_noise", 8)} <= shown(unbroken).keys()
    stored = json.loads((unbroken / "config.json").read_text())
    assert stored["train"]["steps"] == 8
    assert stored["environments"] == [{name: record[name] for name in ("device", "software", "parts")}]


def test_a_resumed_run_is_that_of_an_unbroken_one(unbroken, images, tmp_path):
    """Five of eight steps, amid an epoch and between two logs; then the rest."""
    train(config(images, train__steps=5), tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").open("a").write('{"step": 6, "bpd": 1.0}\n{"st')  # as a crash would leave it
    train(config(images), tmp_path / "run")
    assert_same_run(tmp_path / "run", unbroken, except_steps=[5])  # the evaluation at step 5
    pace = "train/images_per_second"  # which the first step after a start does not have
    resumed, whole = (
        {point for point in shown(folder) if point[1] not in (0, 5) and point[0] != pace}
        for folder in (tmp_path / "run", unbroken)
    )
    assert resumed == whole


def test_a_run_with_several_steps_per_call_is_the_same(unbroken, images, tmp_path, capsys):
    """Also if its pictures cannot be drawn."""

    def draw(params, on_part):
        raise RunError("the solver gave up")

    train(config(images, train__steps_per_call=4), tmp_path / "run", draw)
    assert_same_run(tmp_path / "run", unbroken)
    assert "TensorBoard has no pictures of step 8: the solver gave up" in capsys.readouterr().out


def test_a_signal_stops_the_drawing_of_pictures(images, tmp_path, capsys, monkeypatch):
    """The state is saved; the run that resumes draws the pictures again, of the same parameters.

    It resumes under other versions, and says so.
    """
    drawn, settings, here = [], config(images, eval__every_steps=4), versions.environment({})

    def draw(params, on_part):
        drawn.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]))
        if len(drawn) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        on_part(1.0)
        return {"grey": np.full((2, 2, 1), len(drawn), np.uint8)}

    with pytest.raises(Interrupted):
        train(settings, tmp_path / "run", draw)
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert checkpoints.latest_step() == 4
    newer = here["software"] | {"jax": "99.1", "libtpu": "3.0"}
    monkeypatch.setattr(versions, "software", lambda: newer)
    state, _ = train(settings, tmp_path / "run", draw)
    assert [line for line in capsys.readouterr().out.splitlines() if "other versions" in line] == [
        f"resuming under other versions: jax {jax.__version__} -> 99.1, libtpu none -> 3.0; "
        "results are no longer bit for bit those of an uninterrupted run"
    ]
    assert stored_origin(tmp_path / "run").environments == [here, here | {"software": newer}]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert len(drawn) == 3
    np.testing.assert_array_equal(drawn[2], np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.ema)]))
    values = shown(tmp_path / "run")
    assert [int(values["eval/grey", step][0, 0, 0]) for step in (4, 8)] == [2, 3]
    assert ("eval/test_total", 4) in values


@pytest.mark.slow
def test_settings_of_jax_change_no_run(unbroken, images, tmp_path):
    """Five steps as ever, the rest in double precision, with another default generator, and stopping at any NaN."""
    workdir = tmp_path / "run"
    train(config(images, train__steps=5), workdir)
    with jax.enable_x64(True), jax.default_prng_impl("rbg"), jax.debug_nans(True):
        train(config(images), workdir)
    rows = [row for row in logged(workdir) if row["step"] != 5]
    for expected, row in zip(logged(unbroken), rows, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    leaves = (jax.tree.leaves(open_trained(folder).params) for folder in (unbroken, workdir))
    for expected, leaf in zip(*leaves, strict=True):
        assert leaf.dtype == expected.dtype
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-6)
    expected, values = (evaluated(folder, 8)[1] for folder in (unbroken, workdir))
    for term in ("t", "reconstruction", "latent", "diffusion"):
        np.testing.assert_allclose(values[term], expected[term], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_a_signal_saves_first(images, tmp_path):
    """SIGTERM after the first log, and Ctrl-C after one more; the run says so, saves, and resumes to the same end."""
    workdir, stopped = tmp_path / "run", 0
    for number in (signal.SIGTERM, signal.SIGINT):

        def kill_after_a_log(number=number, before=stopped):
            while max((row["step"] for row in read_metrics(workdir)), default=0) <= before:
                time.sleep(0.005)
            os.kill(os.getpid(), number)

        thread = threading.Thread(target=kill_after_a_log)
        thread.start()
        with pytest.raises(Interrupted) as stop:
            train(config(images, train__steps=10_000, checkpoint__every_steps=10_000), workdir)
        thread.join()
        assert stop.value.signal == number
        with Checkpoints(workdir) as checkpoints:
            before, stopped = stopped, checkpoints.latest_step()
        assert before + 1 <= stopped < 10_000
    train(config(images, train__steps=stopped + 4), tmp_path / "unbroken")
    train(config(images, train__steps=stopped + 4), workdir)
    assert_same_run(workdir, tmp_path / "unbroken")


def test_a_second_run_of_a_finished_one_adds_nothing(unbroken, images, capsys):
    before = {p: p.stat().st_mtime_ns for p in (unbroken / "checkpoints").rglob("*") if p.is_file()}
    rows, points = logged(unbroken), shown(unbroken).keys()
    train(config(images), unbroken)
    assert before == {p: p.stat().st_mtime_ns for p in (unbroken / "checkpoints").rglob("*") if p.is_file()}
    assert logged(unbroken) == rows
    assert shown(unbroken).keys() == points
    first, second, *_ = capsys.readouterr().out.splitlines()
    record, _ = evaluated(unbroken, 8)
    assert first == f"tiny:vdm, seed 0, {record['params']:,} parameters, on {record['device']}, in {unbroken}"
    assert second == f"resuming from step 8 of {unbroken}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__source": "nowhere"}, "neither a known data set"),
        ({"train__accumulate": 3}, r"train.batch_size=8 does not divide into train.accumulate=3 parts"),
        ({"eval__split": "validation"}, "no split 'validation'"),
        ({"loss__depth": 10_000_000}, "loss.depth=10000000 steps between"),
        ({"loss__depth": 4, "loss__times": "optimal", "fit__images": 21}, "exceeds the 20 training images"),
        ({"mesh__fsdp": 3}, "mesh.fsdp=3 does not divide the number of devices; take a divisor of 1"),
        ({"data__pixel_levels": 16}, "data.pixel_levels=16 allows 0 .. 15"),
        (
            {"train__time_sampling": "importance", "model__schedule__kind": "monotone"},
            r"train\.time_sampling=importance is not for model\.schedule\.kind=monotone at infinite depth",
        ),
    ],
)
def test_bad_input_leaves_no_trace(images, tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        train(config(images, **changes), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_other_draws_from_the_same_seed_leave_no_trace(images, tmp_path):
    with jax.threefry_partitionable(False), pytest.raises(InputError, match="jax_threefry_partitionable is off"):
        train(config(images), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_its_own_images_and_makes_its_later_steps_anew(images, tmp_path):
    """Its newest checkpoint is damaged; then its images are exchanged for others of the same shape, and restored."""
    workdir, path = tmp_path / "run", tmp_path / "images.npz"
    shutil.copy(images, path)
    settings = config(str(path), eval__every_steps=4)
    train(settings, workdir)
    first = evaluated(workdir, 8)[0]
    for file in (workdir / "checkpoints" / "8" / "state" / "d").iterdir():
        file.write_bytes(b"")
    np.savez(path, **{**np.load(images), "train": tiny.images(20)[::-1]})
    with pytest.raises(InputError, match=r"was trained on other images than those of .*images.npz: their digest is"):
        train(settings, workdir)
    shutil.copy(images, path)
    train(settings, workdir)
    again = evaluated(workdir, 8)[0]
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert evaluated(workdir, 4)[0]["step"] == 4
