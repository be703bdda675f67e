"""Several steps per call: the same run, however its steps are divided into calls."""

import jax
import numpy as np
import pytest

from diffenc_jax.core.errors import RunError
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.runs.trained import open_trained
from diffenc_jax.train import calls
from diffenc_jax.train.calls import call_length
from diffenc_jax.train.loop import Trainer
from diffenc_jax.train.profiler import StepRange
from tests import tiny
from tests.logs import logged
from tests.train.running import assert_same_run, train


@pytest.mark.parametrize("profiled", [None, StepRange(14, 16)])
def test_calls_end_where_something_is_due(profiled):
    """And are as long as they may be otherwise."""
    every = {"log": 3, "checkpoint": 8, "eval": 5}
    changes = {f"{section}__every_steps": steps for section, steps in every.items()}
    config = tiny.config(train__steps=22, **changes)
    done, ends = 0, []
    while done < 22:
        done += call_length(config, 4, done, profiled)
        ends.append(done)
    due = {step for step in range(1, 23) if step == 22 or any(step % steps == 0 for steps in every.values())}
    traced = set() if profiled is None else {13, 14, 15, 16}
    assert set(ends) == due | traced
    rare = tiny.config(train__steps=50, log__every_steps=10)
    assert [call_length(rare, 4, done) for done in (0, 1, 7, 9, 48)] == [4, 3, 1, 1, 2]


def config(images, **changes):
    """Logs, checkpoints and evaluations at steps that are no multiples of 4, with augmentation and labels."""
    given = {
        "train__steps": 11,
        "train__augment": "flip",
        "model__labels": True,
        "log__every_steps": 3,
        "checkpoint__every_steps": 5,
        "eval__every_steps": 7,
        "eval__passes": 1,
        "eval__time_sampling": "uniform",
        "data__source": images,
    }
    return tiny.config("vdm", small=True, **(given | changes))


@pytest.fixture(scope="module")
def single(images, tmp_path_factory):
    """A run with one step per call."""
    workdir = tmp_path_factory.mktemp("single") / "run"
    train(config(images), workdir)
    return workdir


def newest_states(workdir, config):
    """The arrays of the newest two checkpoints."""
    shapes = Trainer(Experiment.load(config), workdir).program.state
    with Checkpoints(workdir) as checkpoints:
        return [checkpoints.restore(step, shapes) for step in (10, 11)]


def assert_same_states(a, b, config):
    jax.tree.map(np.testing.assert_array_equal, newest_states(a, config), newest_states(b, config))


def assert_close_runs(a, b):
    """Assert that metrics and averaged parameters agree up to rounding."""
    for row, expected in zip(logged(a), logged(b), strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    ours, theirs = (jax.tree.leaves(open_trained(folder).params) for folder in (a, b))
    for leaf, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_loops_train_as_single_steps(single, images, tmp_path, monkeypatch):
    """Up to rounding; bit for bit as each other, wherever calls end; and as they are if the images are too many."""
    monkeypatch.setattr(calls, "is_cpu", lambda program: False)
    settings = config(images, train__steps_per_call=4)
    train(settings, tmp_path / "run")
    assert_close_runs(tmp_path / "run", single)
    train(config(images, train__steps=8, train__steps_per_call=4), tmp_path / "cut")
    train(settings, tmp_path / "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "run", except_steps=[8])
    assert_same_states(tmp_path / "cut", tmp_path / "run", settings)
    monkeypatch.setattr(calls, "is_on_device", lambda train: False)
    train(settings, tmp_path / "sent")
    assert_same_run(tmp_path / "sent", single)


@pytest.mark.slow
def test_a_step_amid_a_call_that_is_not_finite_is_named(images, tmp_path):
    """And the checkpoint before it is kept, although the call goes on."""
    poison = {"train__learning_rate": 1e30, "train__warmup_steps": 9, "checkpoint__every_steps": 2}
    messages = []
    for length in (1, 4):
        few = {"log__every_steps": 100, "train__steps": 40, "train__steps_per_call": length}
        with pytest.raises(RunError, match=r"step \d+: .* is not finite; the checkpoint of step 2 is kept") as stop:
            train(config(images, **poison, **few), tmp_path / str(length))
        messages.append(str(stop.value))
    assert messages[0] == messages[1]
