"""What a run survives: values that are not finite, a full disk, a jumping clock, a second process on its workdir."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax import modes
from diffenc_jax.errors import InputError, RunError
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train import loop, step
from diffenc_jax.train.checkpoint import Checkpoints
from diffenc_jax.train.step import init_and_step
from diffenc_jax.train.writer import MetricsWriter
from diffenc_jax.workdir import check_writable, claimed, metrics
from tests import tiny
from tests.logs import logged

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)
BAD = np.zeros((8, 4, 4, 1), np.uint8)  # the batch whose gradient the tests spoil


@pytest.fixture
def spoilt(monkeypatch):
    """The gradient of `BAD` is made to hold the value that is given to the fixture."""

    def spoil(value):
        gradient = step.gradient

        def spoilt(model, params, drawn, *rest):
            looked, grads = gradient(model, params, drawn, *rest)
            grads["score"]["conv_in"]["bias"] = jnp.where(
                jnp.any(drawn.pixels), grads["score"]["conv_in"]["bias"], value
            )
            return looked, grads

        monkeypatch.setattr(step, "gradient", spoilt)

    return spoil


@pytest.mark.parametrize(
    ("value", "sampling"), [(np.nan, "importance"), pytest.param(np.inf, "uniform", marks=pytest.mark.slow)]
)
def test_a_step_that_is_not_finite_is_skipped(spoilt, value, sampling):
    """It changes the step's number alone, and the next logged averages are those of the other steps."""
    spoilt(value)
    config = tiny.config("vdm", train__on_nonfinite="skip", train__time_sampling=sampling)
    init, train_step = init_and_step(build(config, SPEC), config)
    train_step, good = jax.jit(train_step), jnp.asarray(tiny.images(8))
    first, before = train_step(jax.jit(init)(), good)
    second, bad = train_step(first, jnp.asarray(BAD))
    assert bool(before.finite)
    assert not bool(bad.finite)
    assert int(second.step) == 2
    jax.tree.map(np.testing.assert_array_equal, second.replace(step=first.step), first)
    third, report = train_step(second, good)
    assert bool(report.finite)
    assert float(report.meter.steps) == 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(third))
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (third.ema, first.ema)), strict=True))
    # At the first step of a log it restarts the averages all the same: steps 3, 4, 5 are logged together.
    fourth, report = train_step(third, jnp.asarray(BAD))
    assert float(report.meter.steps) == 0
    assert report.meter.scalars() == {}
    assert float(train_step(fourth, good)[1].meter.steps) == 1


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, train=tiny.images(20), test=tiny.images(8, seed=1))
    return str(path)


def config(images, **changes):
    fewer = {"eval__passes": 1, "eval__time_sampling": "uniform", "checkpoint__every_steps": 2, "log__every_steps": 1}
    return tiny.config("vdm", data__source=images, **(fewer | changes))


def restored(workdir):
    """The newest checkpoint's step and averages."""
    shapes = jax.eval_shape(build(tiny.config("vdm"), SPEC).init, jax.random.key(0))
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.newest(lambda step: checkpoints.restore_ema(step, shapes))


@pytest.fixture(scope="module")
def unbroken(images, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    modes.train(config(images), workdir)
    return workdir


def assert_same_run(a, b):
    assert logged(a) == logged(b)
    (step, ours), (other, theirs) = restored(a), restored(b)
    assert step == other
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def injected(monkeypatch, steps):
    """The host sees these steps' reports as not finite."""
    collect = loop._Run._collect

    def spoil(self, keep):
        self._pending = type(self._pending)(
            (number, report._replace(finite=np.asarray(number not in steps))) for number, report in self._pending
        )
        collect(self, keep)

    monkeypatch.setattr(loop._Run, "_collect", spoil)


@pytest.mark.slow
def test_what_is_skipped_is_said_and_counted(images, tmp_path, monkeypatch, capsys):
    injected(monkeypatch, {4, 5, 7})
    modes.train(config(images, train__on_nonfinite="skip"), tmp_path / "run")
    said = [line for line in capsys.readouterr().out.splitlines() if line.endswith("skipped")]
    assert said == [f"step {n}: the loss or its gradient is not finite; it is skipped" for n in (4, 7)]
    assert [row["skipped_steps"] for row in metrics(tmp_path / "run") if "bpd" in row] == [0.0] * 8
    monkeypatch.setattr(loop, "MAX_SKIPPED", 2)
    with pytest.raises(RunError, match=r"step 5: .* not finite, as were the 1 before it; the checkpoint of step 4 is"):
        modes.train(config(images, train__on_nonfinite="skip"), tmp_path / "other")


def test_damage_costs_a_run_the_steps_since_the_last_good_checkpoint(unbroken, images, tmp_path, capsys):
    """And nothing else: it ends as if nothing had happened."""
    modes.train(config(images, train__steps=6), tmp_path / "run")
    largest = max((tmp_path / "run" / "checkpoints" / "6" / "state").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    modes.train(config(images), tmp_path / "run")
    said = capsys.readouterr()
    assert "the checkpoint of step 6 is damaged: " in said.err
    assert f"moved to {tmp_path}/run/damaged/6; going on with that of step 4" in said.err
    assert "going on from step 4 of " in said.out
    assert logged(tmp_path / "run")[-2:] == logged(unbroken)[-2:]
    jax.tree.map(np.testing.assert_array_equal, restored(tmp_path / "run"), restored(unbroken))


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing(unbroken, images, tmp_path, monkeypatch):
    """By decades, both ways, between saves: of one that is under way Orbax may think that it took too long."""
    write, now, jump = MetricsWriter.write, time.time, {3: 1e9, 5: -1e9, 7: 0.0}
    offset = [0.0]

    def writing(self, step, scalars):
        if step in jump and "bpd" in scalars:
            while not (tmp_path / "run" / "checkpoints" / str(step - 1)).exists():
                time.sleep(0.01)
            time.sleep(1.0)  # until what follows a save is done
            offset[0] = jump[step]
        write(self, step, scalars)

    monkeypatch.setattr(MetricsWriter, "write", writing)
    monkeypatch.setattr(time, "time", lambda: now() + offset[0])
    modes.train(config(images), tmp_path / "run")
    assert offset == [0.0]
    assert_same_run(tmp_path / "run", unbroken)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few megabytes, and a function that fills it up or, called again, makes room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.name != "posix" or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk]).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    ballast = disk / "ballast"

    def toggle():
        if ballast.exists():
            ballast.unlink()
            return
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    yield disk, toggle
    subprocess.run(["umount", "-l", disk], check=True)


def full_between(monkeypatch, small_disk, first, last):
    """The disk is full from the log of step `first` on, when the checkpoint before is saved, until that of `last`."""
    write, (disk, toggle) = MetricsWriter.write, small_disk

    def writing(self, step, scalars):
        while step == first and not (disk / "run" / "checkpoints" / str(first - 1)).exists():
            time.sleep(0.01)
        if step in (first, last) and "bpd" in scalars:
            toggle()
        write(self, step, scalars)

    monkeypatch.setattr(MetricsWriter, "write", writing)


@pytest.mark.slow
def test_a_run_goes_on_through_a_full_disk(unbroken, images, small_disk, monkeypatch, capsys):
    """As configured: the logs of then are written later, and its checkpoints are missed."""
    disk, _ = small_disk
    full_between(monkeypatch, small_disk, 3, 7)
    modes.train(config(images, checkpoint__on_failure="go_on"), disk / "run")
    said = capsys.readouterr().out
    assert "No space left on device; the checkpoint of step 2 is kept, and the run goes on" in said
    assert "the checkpoint of step 4 could not be saved: " in said
    assert_same_run(disk / "run", unbroken)


@pytest.mark.slow
def test_a_run_stops_at_a_full_disk_and_goes_on_from_there(unbroken, images, small_disk, monkeypatch):
    disk, toggle = small_disk
    full_between(monkeypatch, small_disk, 3, None)
    with pytest.raises(RunError, match=r"No space left on device; the checkpoint of step 2 is kept$") as stop:
        modes.train(config(images), disk / "run")
    assert "\n" not in str(stop.value)
    monkeypatch.undo()
    toggle()
    assert restored(disk / "run")[0] == 2
    modes.train(config(images), disk / "run")
    assert_same_run(disk / "run", unbroken)


def test_a_disk_that_is_read_only_is_said_before_anything_is_computed(small_disk):
    disk, _ = small_disk
    (disk / "run").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for act in (lambda: claimed(disk / "run", tiny.config("vdm")).__enter__(), lambda: check_writable(disk / "eval")):
        with pytest.raises(InputError, match=r"cannot be written to: Read-only file system; give another --workdir$"):
            act()


HOLDER = """
import sys, time
from pathlib import Path
from diffenc_jax.workdir import claimed
from tests import tiny
with claimed(Path(sys.argv[1]), tiny.config("vdm")):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    """Killed, it leaves nothing held; and what it wrote stays as it is while it is there."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "held\n"
        before = (tmp_path / "config.json").stat().st_mtime_ns
        with pytest.raises(InputError, match=f"another process trains in {tmp_path}; wait for it"):
            claimed(tmp_path, tiny.config("vdm")).__enter__()
        assert (tmp_path / "config.json").stat().st_mtime_ns == before
        first.send_signal(signal.SIGKILL)
    with claimed(tmp_path, tiny.config("vdm", train__steps=3)):
        assert json.loads((tmp_path / "config.json").read_text())["train"]["steps"] == 3
