"""Profiles of training steps: what a trace holds, that it changes nothing, and what is refused."""

import re
import signal

import jax
import pytest
from rich.console import Console

from diffenc_jax.core.errors import InputError, Interrupted
from diffenc_jax.lab.studies.profile.measure import read_profile
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.train import profiler
from diffenc_jax.train.loop import Trainer, check_trainable
from tests import tiny
from tests.train.running import assert_same_run, before_each_step, save_images, train

STEPS = profiler.Steps(3, 5)


def config(folder, **changes):
    fewer = {
        "eval__passes": 1,
        "checkpoint__every_steps": 2,
        "checkpoint__on_failure": "go_on",
        "log__every_steps": 1,
        "log__samples": 0,
    }
    return tiny.config(small=True, data__source=save_images(folder, num_test=8), **(fewer | changes))


def train_profiled(config, workdir, action=lambda step: None):
    trainer = Trainer(Experiment.load(config), workdir, profiled=STEPS)
    before_each_step(trainer, action)
    trainer.run(Console())


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiled")
    settings = config(folder)
    train_profiled(settings, folder / "run")
    return settings, folder / "run"


@pytest.mark.slow
def test_a_trace_holds_its_steps_by_part(profiled):
    profile = read_profile(profiled[1])
    assert profile.steps == (3, 5)
    (trace,) = profile.folder.glob("*.xplane.pb")
    events = [
        event
        for plane in jax.profiler.ProfileData.from_file(str(trace)).planes
        for line in plane.lines
        for event in line.events
        if event.name == profiler.STEP
    ]
    assert [dict(event.stats)["step_num"] for event in events] == [3, 4, 5]
    whole = [operation for operation in profile.operations if operation.calls % 3 == 0]
    assert len(whole) > 0.95 * len(profile.operations)  # each step executes each operation equally often
    seconds = profile.by_part()
    assert {part for part, _ in seconds} >= {"encoder", "score_network", "losses", "optimizer"}
    assert seconds["score_network", True] > 0
    assert ("optimizer", True) not in seconds
    assert sum(seconds.values()) == pytest.approx(profile.seconds)
    assert 0 < profile.seconds < sum(event.duration_ns for event in events) * 1e-9 * 8 + 10


@pytest.mark.slow
def test_it_changes_no_value(profiled, tmp_path):
    settings, workdir = profiled
    train(settings, tmp_path / "run")
    assert_same_run(tmp_path / "run", workdir)


@pytest.mark.slow
def test_an_interrupted_trace_is_discarded_and_the_run_resumes(tmp_path):
    def interrupt(step):
        if step == 4:
            signal.raise_signal(signal.SIGTERM)

    settings = config(tmp_path)
    with pytest.raises(Interrupted):
        train_profiled(settings, tmp_path / "run", interrupt)
    with pytest.raises(InputError, match=r"--profile=3:5: the run has made 4 of its 8 steps; give later steps"):
        train_profiled(settings, tmp_path / "run")
    with pytest.raises(InputError, match="holds no profile of training steps"):
        read_profile(tmp_path / "run")
    trainer = Trainer(Experiment.load(settings), tmp_path / "run", profiled=profiler.Steps(5, 6))
    trainer.run(Console())
    assert read_profile(tmp_path / "run").steps == (5, 6)


@pytest.mark.slow
def test_a_profile_that_cannot_be_written_does_not_end_the_run(profiled, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "profile")

    monkeypatch.setattr(profiler.storage, "copy_folder", full)
    settings, workdir = profiled
    train_profiled(settings, tmp_path / "run")
    assert re.search(
        r"profile: No space left on device \(free some space\); .*, and the run goes on", capsys.readouterr().out
    )
    assert_same_run(tmp_path / "run", workdir)


def test_steps_outside_the_run(tmp_path):
    settings = tiny.config()
    check_trainable(tmp_path / "run", settings, profiler.Steps(8, 8))
    with pytest.raises(InputError, match="--profile=7:9 is outside the run, which ends at step 8; give steps up to 8"):
        check_trainable(tmp_path / "run", settings, profiler.Steps(7, 9))
