"""Runs of several processes, which train, evaluate and save as one."""

import re
import signal
import sys

import numpy as np
import pytest

from tests import processes, tiny
from tests.launch.stand_ins import LAUNCH
from tests.xla_flags import QUICKLY_COMPILED

TINY = tiny.file(train__steps=6, log__every_steps=2, checkpoint__every_steps=100_000)


def start_run(folder, launcher, *flags):
    """A real run with two simulated devices per process."""
    (folder / "small.py").write_text(TINY)
    program, *arguments = [*launcher, f"--config={folder}/small.py", *flags]
    environment = {"XLA_FLAGS": QUICKLY_COMPILED, "PYTHON": sys.executable}
    return processes.start(*arguments, program=program, **environment)


FITTED = ["--config.loss.depth=4", "--config.loss.times=optimal", "--config.loss.variance_ratio=optimal_pixel"]
ALONE = [sys.executable, "-m", "diffenc_jax.main"]
LOCAL = ["bash", LAUNCH / "local.sh", "--processes=2", "--devices=2", "--"]


def diffusion_terms(evaluations):
    """Nats [passes, images] of the one evaluation of the test images."""
    (path,) = evaluations.glob("test-6-depth4*.npz")
    return np.load(path)["diffusion"]


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """And fit and evaluate as one."""
    said, _ = processes.finish(start_run(tmp_path, LOCAL, f"--workdir={tmp_path}/two", *FITTED))
    assert said.count("evaluating test at step 6") == 1  # only the first process prints
    processes.finish(start_run(tmp_path, ALONE, f"--workdir={tmp_path}/one", *FITTED))
    two, one = (diffusion_terms(tmp_path / name / "eval") for name in ("two", "one"))
    np.testing.assert_allclose(two, one, rtol=0.02)
    assert two.std() > 0.1 * two.mean()  # the comparison above is not trivial
    for name in ("two", "one"):
        assert len((tmp_path / name / "metrics.jsonl").read_text().splitlines()) == 4
        assert {path.suffix for path in (tmp_path / name / "samples").iterdir()} == {".npz", ".png"}

    # One checkpoint, evaluated by both, so that only the number of processes differs.
    (tmp_path / "two" / "eval").rename(tmp_path / "by two")
    processes.finish(start_run(tmp_path, ALONE, f"--workdir={tmp_path}/two", "--mode=eval", *FITTED))
    np.testing.assert_allclose(diffusion_terms(tmp_path / "two" / "eval"), two, rtol=1e-3)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("gone", [0, 1])
def test_a_killed_process_ends_the_other_within_a_minute(tmp_path, gone):
    flags = [f"--workdir={tmp_path}/run", "--config.train.steps=1000000", "--processes=2"]
    flags.append(f"--coordinator=localhost:{processes.free_port()}")
    runs = [start_run(tmp_path, ALONE, *flags, f"--process={process}") for process in (0, 1)]
    processes.wait_until((tmp_path / "run" / "metrics.jsonl").exists, *runs)
    runs[gone].kill()
    _, error = processes.finish(runs[1 - gone], 1, timeout=60)
    ours = "error: another process of this run is gone"
    if gone == 0:  # JAX watches the coordinator from its own thread, whose message may come first
        assert ours in error or "likely indicates that another task died" in error
    else:
        assert ours in error.splitlines()[-1]


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_save_after_a_signal_and_resume(tmp_path):
    workdir = tmp_path / "run"
    flags = [f"--workdir={workdir}", "--config.train.steps="]
    run = start_run(tmp_path, LOCAL, flags[0], flags[1] + "1000000")
    processes.wait_until((workdir / "metrics.jsonl").exists, run)
    run.send_signal(signal.SIGTERM)
    out, _ = processes.finish(run, 128 + signal.SIGTERM, timeout=120)
    step = int(re.search(r"stopped by a signal; step (\d+) is saved", out).group(1))
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == [str(step)]
    out, _ = processes.finish(start_run(tmp_path, LOCAL, flags[0], f"{flags[1]}{step + 2}"))
    assert f"resuming from step {step} of " in out
    assert f"step {step + 2}: test" in out
