"""Faults that a run survives: values that are not finite, and a full disk."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import diffenc_jax as dj
from diffenc_jax.core.errors import RunError
from diffenc_jax.data.images import Batch
from diffenc_jax.runs.metrics import read_metrics
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.train import outputs, program
from diffenc_jax.train.program import TrainingProgram
from diffenc_jax.train.state import averages
from tests import tiny
from tests.train.running import assert_same_run, train, wait_for_checkpoint

SEED = np.uint32(0)
BAD = np.zeros((8, 4, 4, 1), np.uint8)  # a batch whose gradient the tests spoil


def test_a_step_that_is_not_finite_is_skipped(monkeypatch):
    """It changes the number of the step alone, and the averages that are logged next are those of the other steps."""
    gradient = program.gradient

    def spoilt(model, params, draw):
        outputs, grads = gradient(model, params, draw)
        return outputs, jax.tree.map(lambda grad: jnp.where(jnp.any(draw.batch.data), grad, np.nan), grads)

    monkeypatch.setattr(program, "gradient", spoilt)
    config = tiny.config("vdm", small=True, train__on_nonfinite="skip", train__time_sampling="importance")
    step = TrainingProgram(tiny.model(config), config)
    train_step, good = partial(jax.jit(step.train_step), seed=SEED), Batch(tiny.images(8))
    params = tiny.drawn(step.model)
    first, before = train_step(jax.jit(lambda: step.init(SEED).replace(params=params, ema=params))(), good)
    second, bad = train_step(first, Batch(BAD))
    assert bool(before.finite)
    assert not bool(bad.finite)
    assert int(second.step) == 2
    jax.tree.map(np.testing.assert_array_equal, second.replace(step=first.step), first)
    third, report = train_step(second, good)
    assert bool(report.finite)
    assert float(report.meter.grad_norm.weight) == 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(third))
    emas = (jax.tree.leaves(jax.device_get(state.ema)) for state in (third, first))
    assert any(np.any(a != b) for a, b in zip(*emas, strict=True))
    fourth, report = train_step(third.restarted(), Batch(BAD))
    assert float(report.meter.grad_norm.weight) == 0
    assert averages(report.meter) == {}
    assert float(train_step(fourth, good)[1].meter.grad_norm.weight) == 1


def config(images, **changes):
    fewer = {"eval__passes": 1, "eval__time_sampling": "uniform", "checkpoint__every_steps": 2, "log__every_steps": 1}
    return tiny.config("vdm", small=True, data__source=images, **(fewer | changes))


def test_a_run_without_a_finite_result_fails(images, tmp_path, monkeypatch):
    """The last update is finite and so large that the bound is not."""

    def explodes(rate):
        def update(grads, count, params=None):
            return jax.tree.map(lambda grad: jnp.where(count == 7, 1e17, -rate(count) * grad), grads), count + 1

        return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)

    monkeypatch.setattr(optax, "explodes", explodes, raising=False)
    exploding = config(images, train__optimizer__kind="optax:explodes", eval__every_steps=4)
    with pytest.raises(RunError, match=r"step 8: example \d+ of test has (nan|inf): .*; the checkpoint of step 4 has"):
        train(exploding, tmp_path / "run")


def test_parameters_that_are_not_finite_are_not_saved(images, tmp_path, monkeypatch, capsys):
    start = TrainingProgram.start

    def spoilt(program):
        state = start(program)
        return state.replace(params=jax.tree.map(lambda leaf: leaf * np.nan, state.params))

    monkeypatch.setattr(TrainingProgram, "start", spoilt)
    for lines in (0, 1):
        with pytest.raises(RunError, match="step 8: the parameters are not finite, and are not saved; there is no che"):
            train(config(images, train__on_nonfinite="skip"), tmp_path / "run")
        assert not StoredRun(tmp_path / "run").steps()
        assert capsys.readouterr().out.count("ended before its first checkpoint; training starts again") == lines


@pytest.mark.slow
def test_skipped_steps_are_reported_and_counted(images, tmp_path, monkeypatch, capsys):
    """A program reports the steps 4, 5 and 7 as not finite."""
    compiled, settings = TrainingProgram.compiled, config(images, train__on_nonfinite="skip")

    def spoilt(program):
        step = compiled(program)

        def spoilt_step(*arguments):
            state, report = step(*arguments)
            return state, report._replace(finite=np.asarray(int(state.step) not in {4, 5, 7}))

        return spoilt_step

    monkeypatch.setattr(TrainingProgram, "compiled", spoilt)
    train(settings, tmp_path / "run")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith("skipped")]
    assert [line.partition(":")[0] for line in lines] == ["step 4", "step 7"]
    assert [row["skipped_steps"] for row in read_metrics(tmp_path / "run") if "bpd" in row] == [0.0] * 8
    monkeypatch.setattr(outputs, "MAX_SKIPPED", 2)
    with pytest.raises(RunError, match=r"step 5: .* not finite, 2 steps in a row; the checkpoint of step 4 is kept"):
        train(settings, tmp_path / "other")


def full_between(small_disk, first, last):
    """The disk is full from step `first` on, when the checkpoint before it is saved, until step `last`."""
    disk, toggle = small_disk

    def action(step):
        if step == first:
            wait_for_checkpoint(disk / "run", first - 1)
        if step in (first, last):
            toggle()

    return action


@pytest.mark.slow
def test_a_run_goes_on_through_a_full_disk(unbroken, images, small_disk, capsys):
    """As configured: the metrics of that time are written later, and its checkpoints are missing."""
    disk, _ = small_disk
    settings = config(images, checkpoint__on_failure="go_on")
    train(settings, disk / "run", before_step=full_between(small_disk, 3, 7))
    output = capsys.readouterr().out
    assert "No space left on device (free some space); the checkpoint of step 2 is kept, and the run goes on" in output
    assert "the checkpoint of step 4 could not be saved in " in output
    assert not list((disk / "run" / "checkpoints").glob("*tmp*"))
    assert_same_run(disk / "run", unbroken)


@pytest.mark.slow
def test_a_run_stops_at_a_full_disk_and_resumes(unbroken, images, small_disk):
    disk, toggle = small_disk
    with pytest.raises(RunError, match=r"No space left on device .*; the checkpoint of step 2 is kept$"):
        train(config(images), disk / "run", before_step=full_between(small_disk, 3, None))
    toggle()
    assert dj.open(disk / "run").checkpoint == 2
    train(config(images), disk / "run")
    assert_same_run(disk / "run", unbroken)
