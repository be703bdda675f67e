"""Whole runs of a tiny model: stopped and resumed, poisoned, evaluated, sampled, refused."""

import json
import os
import signal
import threading
import time

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from diffenc_jax import modes
from diffenc_jax.config import config_hash
from diffenc_jax.errors import InputError, Interrupted, RunError
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.checkpoint import Checkpoints
from diffenc_jax.workdir import metrics
from tests import tiny
from tests.logs import logged


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """20 images: three batches of 8 do not fill whole epochs, so that every stop is amid one."""
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, train=tiny.images(20), test=tiny.images(13, seed=1))
    return str(path)


@pytest.fixture(scope="module")
def unbroken(images, tmp_path_factory):
    """A run of eight steps without a stop."""
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    modes.train(config(images), workdir)
    return workdir


def config(images, **changes) -> ConfigDict:
    return tiny.config(data__source=images, **changes)


def ema(workdir, step, images):
    model = build(config(images), ImageSpec((4, 4, 1), tiny.LEVELS))
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.restore_ema(step, jax.eval_shape(model.init, jax.random.key(0)))


def assert_same_run(a, b, images):
    assert logged(a) == logged(b)
    jax.tree.map(np.testing.assert_array_equal, ema(a, 8, images), ema(b, 8, images))


def test_a_run_leaves_what_the_design_promises(unbroken):
    record = json.loads((unbroken / "eval" / "test-8-continuous.json").read_text())
    with np.load(unbroken / "eval" / "test-8-continuous.npz") as values:
        nats = {name: values[name] for name in values.files if name != "mass"}
    assert {name: a.shape for name, a in nats.items()} == dict.fromkeys(
        ("reconstruction", "latent", "diffusion", "t", "weight"), (2, 13)
    )
    bits = {name: nats[name].mean() / (16 * np.log(2)) for name in ("reconstruction", "latent", "diffusion")}
    assert record["bpd"] == pytest.approx(bits | {"total": sum(bits.values())})
    assert record["dataset"]["num_examples"] == 13
    assert (record["step"], record["seed"], record["arm"]) == (8, 0, "diffenc")
    assert [row["step"] for row in logged(unbroken)] == [3, 6, 8]
    assert json.loads((unbroken / "config.json").read_text())["train"]["steps"] == 8
    assert (unbroken / "samples" / "8-depth3-seed0.png").exists()
    assert any(p.name.startswith("events.out.tfevents") for p in unbroken.iterdir())


def test_stopped_short_and_gone_on_is_unbroken(unbroken, images, tmp_path):
    """Five of eight steps, amid an epoch and between two logs; then the rest."""
    modes.train(config(images, train__steps=5), tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").open("a").write('{"step": 6, "bpd": 1.0}\n{"st')  # as a crash would leave it
    modes.train(config(images), tmp_path / "run")
    rows = [row for row in logged(tmp_path / "run") if row["step"] != 5]  # the evaluation at step 5
    assert rows == logged(unbroken)
    jax.tree.map(np.testing.assert_array_equal, ema(tmp_path / "run", 8, images), ema(unbroken, 8, images))


@pytest.mark.slow
def test_settings_of_jax_change_no_run(unbroken, images, tmp_path):
    """Five steps as ever, the rest in double precision, with another default generator, and stopping at any NaN."""
    workdir = tmp_path / "run"
    modes.train(config(images, train__steps=5), workdir)
    with jax.enable_x64(True), jax.default_prng_impl("rbg"), jax.debug_nans(True):
        modes.train(config(images), workdir)
    theirs = [row for row in logged(workdir) if row["step"] != 5]
    for ours, other in zip(logged(unbroken), theirs, strict=True):
        assert other == pytest.approx(ours, rel=1e-4)
    pairs = zip(jax.tree.leaves(ema(workdir, 8, images)), jax.tree.leaves(ema(unbroken, 8, images)), strict=True)
    for ours, other in pairs:
        assert ours.dtype == other.dtype
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-6)
    name = "test-8-continuous.npz"
    with np.load(workdir / "eval" / name) as ours, np.load(unbroken / "eval" / name) as theirs:
        for term in ("t", "reconstruction", "latent", "diffusion"):
            np.testing.assert_allclose(ours[term], theirs[term], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_a_signal_saves_first(unbroken, images, tmp_path, monkeypatch):
    """SIGTERM after the first log, and Ctrl-C after one more; the run says so, saves, and goes on to the same end."""
    workdir, stopped = tmp_path / "run", 0
    for number in (signal.SIGTERM, signal.SIGINT):

        def kill_after_a_log(number=number, before=stopped):
            while max((row["step"] for row in metrics(workdir)), default=0) <= before:
                time.sleep(0.005)
            os.kill(os.getpid(), number)

        thread = threading.Thread(target=kill_after_a_log)
        thread.start()
        with pytest.raises(Interrupted) as stop:
            modes.train(config(images, train__steps=10_000, checkpoint__every_steps=10_000), workdir)
        thread.join()
        assert stop.value.signal == number
        with Checkpoints(workdir) as checkpoints:
            before, stopped = stopped, checkpoints.latest_step()
        assert before + 1 <= stopped < 10_000
    whole = tmp_path / "whole"
    modes.train(config(images, train__steps=stopped + 4), whole)
    modes.train(config(images, train__steps=stopped + 4), workdir)
    assert logged(whole) == logged(workdir)
    ours, theirs = (ema(folder, stopped + 4, images) for folder in (workdir, whole))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_second_run_of_a_finished_one_adds_nothing(unbroken, images, capsys):
    before = {p: p.stat().st_mtime_ns for p in (unbroken / "checkpoints").rglob("*") if p.is_file()}
    rows = logged(unbroken)
    modes.train(config(images), unbroken)
    assert before == {p: p.stat().st_mtime_ns for p in (unbroken / "checkpoints").rglob("*") if p.is_file()}
    assert logged(unbroken) == rows
    assert "going on from step 8" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_is_no_longer_finite_stops_and_keeps_what_was_good(images, tmp_path):
    poisoned = config(images, train__learning_rate=1e30, train__warmup_steps=6, checkpoint__every_steps=1)
    with pytest.raises(
        RunError, match=r"step (\d+): the loss or its gradient is not finite; the checkpoint of"
    ) as stop:
        modes.train(poisoned, tmp_path / "run")
    bad = int(str(stop.value).split(":")[0].removeprefix("step "))
    with Checkpoints(tmp_path / "run") as checkpoints:
        kept = checkpoints.latest_step()
    assert kept == bad - 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(ema(tmp_path / "run", kept, images)))


def test_several_checkpoints_are_evaluated_under_the_same_noise(unbroken, images, capsys):
    modes.evaluate(config(images, eval__checkpoints="all", eval__passes=4), unbroken)
    printed = capsys.readouterr().out
    times = []
    for step in (4, 8):
        path = unbroken / "eval" / f"test-{step}-continuous.json"
        record = json.loads(path.read_text())
        assert f"step {step}: test {record['bpd']['total']:.4f} ± " in printed
        with np.load(path.with_suffix(".npz")) as values:
            times.append(values["t"])
    assert "importance sampling of times: " in printed
    # The times are those of one u, by tables of two checkpoints that are nearly the same.
    np.testing.assert_allclose(*times, atol=0.05)
    with pytest.raises(InputError, match=r"holds no checkpoint of the steps \[5\]; it has those of \[4, 8\]"):
        modes.evaluate(config(images, eval__checkpoints="4,5"), unbroken)


def test_sampling_follows_its_seed(unbroken, images):
    pictures = []
    for seed in (5, 6):
        modes.draw(config(images, sample__seed=seed), unbroken)
        pictures.append((unbroken / "samples" / f"8-depth3-seed{seed}.png").read_bytes())
    assert pictures[0] != pictures[1]


@pytest.mark.slow
def test_a_run_can_be_looked_at_at_any_depth(unbroken, images):
    """Trained at infinite depth; evaluated and sampled at a constant ratio, and with all that is fitted."""
    fitted = {"loss__depth": 3, "loss__variance_ratio": "optimal_pixel", "loss__times": "optimal"}
    plain = {"eval__time_sampling": "uniform"}
    by_name = {}
    for name, changes in {
        "depth5-uniform_sampling": {"loss__depth": 5} | plain,
        "depth5-ratio0.9-uniform_sampling": {"loss__depth": 5, "loss__variance_ratio": 0.9} | plain,
        "depth3-optimal_pixel-times": fitted,
    }.items():
        modes.evaluate(config(images, **changes), unbroken)
        by_name[name] = json.loads((unbroken / "eval" / f"test-8-{name}.json").read_text())
        assert by_name[name]["config_hash"] == config_hash(config(images))
    bits = {name.removesuffix("-uniform_sampling"): record["bpd"] for name, record in by_name.items()}
    # Under the same noise a ratio w changes a step's cost from u/2 to (w - 1 - ln w + w u)/2 a dimension.
    shift = 5 * (0.9 - 1 - np.log(0.9)) / (2 * np.log(2))
    expected = 0.9 * bits["depth5"]["diffusion"] + shift
    assert bits["depth5-ratio0.9"]["diffusion"] == pytest.approx(expected, rel=1e-4)
    assert bits["depth3-optimal_pixel-times"]["total"] < bits["depth5"]["total"]
    modes.draw(config(images, **fitted), unbroken)
    assert (unbroken / "samples" / "8-depth3-optimal_pixel-times-seed0.png").exists()


@pytest.mark.slow
def test_a_learned_ratio_is_trained_evaluated_and_sampled(images, tmp_path):
    learned = {"loss__depth": 4, "loss__variance_ratio": "learned", "sample__depth": 4, "train__steps": 3}
    settings = tiny.config("vdm", data__source=images, **learned)
    modes.train(settings, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "eval" / "test-3-depth4-learned.json").read_text())
    assert record["estimator"]["variance_ratio"] == "learned"
    assert np.isfinite(record["bpd"]["total"])
    with np.load(tmp_path / "run" / "eval" / "test-3-depth4-learned.npz") as values:
        # Nothing is known at first, and a step's error is far above 1: its ratio falls.
        assert np.all(values["ratio"] < 1)
    assert (tmp_path / "run" / "samples" / "3-depth4-learned-seed0.png").exists()
    plain = tiny.config("vdm", data__source=images, train__steps=3)
    with pytest.raises(InputError, match=r"loss.variance_ratio=1.0 \(there learned\)"):
        modes.evaluate(plain, tmp_path / "run")


@pytest.mark.parametrize("mode", ["train", "eval", "sample"])
def test_another_configuration_is_refused_and_named(unbroken, images, mode):
    before = {p: p.stat().st_mtime_ns for p in unbroken.rglob("*")}
    other = config(images, seed=1, train__learning_rate=5e-4)
    with pytest.raises(InputError, match=r"seed=1 \(there 0\); train.learning_rate=0.0005 \(there 0.001\)"):
        modes.MODES[mode](other, unbroken)
    assert before == {p: p.stat().st_mtime_ns for p in unbroken.rglob("*")}


@pytest.mark.parametrize(
    ("mode", "changes", "message"),
    [
        ("eval", {}, "holds no run"),
        ("sample", {}, "holds no run"),
        ("train", {"data__source": "nowhere"}, "neither a known data set"),
        ("train", {"train__batch_size": 0}, "train.batch_size=0 does not divide"),
        ("train", {"eval__batch_size": 0}, "eval.batch_size must be at least 1"),
        ("train", {"eval__split": "validation"}, "no split 'validation'"),
        ("train", {"eval__passes": 0}, "eval.passes must be at least 1"),
        ("train", {"sample__depth": 0}, "sample.depth must be at least 1"),
        ("train", {"sample__depth": 10_000_000}, "sample.depth=10000000 steps between"),
        ("train", {"seed": 2**32}, r"seed must be a whole number in 0 \.\. 2\^32 - 1, not 4294967296"),
        ("train", {"seed": -1}, r"seed must be a whole number in 0 \.\. 2\^32 - 1, not -1"),
        ("train", {"eval__seed": 2**40}, r"eval.seed must be a whole number in 0 \.\. 2\^32 - 1"),
        ("sample", {"sample__seed": -5}, r"sample.seed must be a whole number in 0 \.\. 2\^32 - 1, not -5"),
        ("train", {"loss__variance_ratio": 0.9}, "at infinite depth the ratio must be 1"),
        ("train", {"loss__depth": 4, "loss__variance_ratio": "learned"}, "sample.depth=3 must be loss.depth=4"),
        ("train", {"loss__depth": 4, "loss__times": "optimal", "fit__images": 21}, "exceeds the 20 training images"),
        ("train", {"log__every_steps": 0}, "log.every_steps must be at least 1"),
        ("train", {"checkpoint__every_steps": 0}, "checkpoint.every_steps must be at least 1"),
        ("train", {"mesh__fsdp": 3}, "mesh.fsdp=3 does not divide the 1 devices"),
        ("train", {"data__levels": 16}, "data.levels=16 admits 0 .. 15"),
        ("train", {"other": ConfigDict({"a": 1})}, r"these differ: \['other'\]"),
    ],
)
def test_bad_input_leaves_no_trace(images, tmp_path, mode, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        modes.MODES[mode](
            config(images, **changes) if "data__source" not in changes else tiny.config(**changes), tmp_path / "run"
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_other_draws_from_the_same_seed_leave_no_trace(images, tmp_path):
    with jax.threefry_partitionable(False), pytest.raises(InputError, match="jax_threefry_partitionable is off"):
        modes.train(config(images), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_images_that_no_longer_fit_the_model(tmp_path):
    """The file that the configuration names holds colour pictures where it held grey ones."""
    path = tmp_path / "images.npz"
    settings = tiny.config("vdm", data__source=str(path), train__steps=1)
    for channels, modes_to_try in ((1, []), (3, ["eval", "sample", "train"])):
        np.savez(path, train=tiny.images(20, (4, 4, channels)), test=tiny.images(8, (4, 4, channels)))
        if not modes_to_try:
            modes.train(settings, tmp_path / "run")
        for mode in modes_to_try:
            with pytest.raises(InputError, match=r"of another model, perhaps of other images: score/conv_in/kernel"):
                modes.MODES[mode](settings, tmp_path / "run")


def test_a_workdir_without_a_checkpoint(images, tmp_path):
    from diffenc_jax import workdir

    with workdir.claimed(tmp_path, config(images)):
        pass
    for mode in ("eval", "sample"):
        with pytest.raises(InputError, match="holds no checkpoint yet"):
            modes.MODES[mode](config(images), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", workdir.LOCK_FILE}
