"""Profiles of training steps: what a trace holds, that it changes nothing, and what is refused."""

import re
import signal
from functools import partial

import jax
import pytest

from diffenc_jax.core.errors import InputError, Interrupted
from diffenc_jax.train import profiler
from tests import tiny
from tests.stored_runs import write_images
from tests.train.running import assert_same_run, train


def config(folder, **changes):
    fewer = {"eval__passes": 1, "log__every_steps": 1, "log__samples": 0}
    fewer |= {"checkpoint__every_steps": 2, "checkpoint__on_failure": "go_on"}
    return tiny.config(small=True, data__source=str(write_images(folder / "images.npz", count=8)), **(fewer | changes))


train_profiled = partial(train, profiled=profiler.StepRange(3, 5))


def traced_steps(workdir):
    """Numbers of the steps in the only trace of a run, and the content of its file."""
    (trace,) = workdir.glob(f"{profiler.PLUGIN}/*/*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(trace)).planes
    events = [event for plane in planes for line in plane.lines for event in line.events if event.name == profiler.STEP]
    return [dict(event.stats)["step_num"] for event in events], trace.read_bytes()


@pytest.mark.slow
def test_a_trace_holds_its_steps_and_changes_no_value(tmp_path, monkeypatch, capsys):
    """Nor does a trace that cannot be written."""
    settings = config(tmp_path)
    train_profiled(settings, tmp_path / "run")
    steps, content = traced_steps(tmp_path / "run")
    assert steps == [3, 4, 5]
    assert all(scope in content for scope in (b"score_network", b"encoder", b"optimizer"))

    def full(*_):
        raise OSError(28, "No space left on device", "profile")

    monkeypatch.setattr(profiler.storage, "copy_folder", full)
    train_profiled(settings, tmp_path / "other")
    assert re.search(r"profile: No space left on device .*, and the run goes on", capsys.readouterr().out)
    assert_same_run(tmp_path / "other", tmp_path / "run")


@pytest.mark.slow
def test_an_interrupted_trace_is_discarded_and_the_run_resumes(tmp_path):
    def interrupt(step):
        if step == 4:
            signal.raise_signal(signal.SIGTERM)

    settings = config(tmp_path)
    with pytest.raises(Interrupted):
        train_profiled(settings, tmp_path / "run", before_step=interrupt)
    with pytest.raises(InputError, match=r"--profile=3:5: the run has made 4 of its 8 steps; give later steps"):
        train_profiled(settings, tmp_path / "run")
    assert not list((tmp_path / "run").glob(f"{profiler.PLUGIN}/*"))
    train(settings, tmp_path / "run", profiled=profiler.StepRange(5, 6))
    assert traced_steps(tmp_path / "run")[0] == [5, 6]
