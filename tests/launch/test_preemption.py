"""Runs of several processes that train as one, and a run whose slice is preempted ten times."""

import re
import shlex
import shutil
import signal
import sys

import numpy as np
import pytest

from diffenc_jax.runs.records import read_values
from tests import ROOT, processes, tiny
from tests.launch.stand_ins import LAUNCH, SLICE
from tests.stored_runs import write_images
from tests.train.running import assert_same_run

PREEMPTIONS = 10
CHANGES = {"train__steps": 120, "checkpoint__every_steps": 4, "eval__every_steps": 1000}

# A cloud with one host, whose home folder is its disk.
GCLOUD = r"""
case " $* " in
  *" describe "*)
    if [[ ! -e $CLOUD/exists ]]; then exit 1; fi
    if [[ -e $CLOUD/preempted ]]; then echo SUSPENDED; else echo ACTIVE; fi
    ;;
  *" create "*) mkdir "$CLOUD/home" && touch "$CLOUD/exists" ;;
  *" delete "*)
    cat "$CLOUD/home/diffenc_jax/.run/log" >>"$CLOUD/logs"
    rm -r "$CLOUD/home" "$CLOUD/exists" "$CLOUD/preempted"
    ;;
  *" scp "*) [[ ! -e $CLOUD/preempted ]] && cp "$5" "$CLOUD/home/diffenc_jax.tar.gz" ;;
  *" ssh "*)
    if [[ -e $CLOUD/preempted ]]; then exit 255; fi
    cd "$CLOUD/home"
    HOME=$CLOUD/home exec bash -c "${!##--command=}"
    ;;
esac
"""

# uv installs the stand-in for the host's python, and notes the pinned requirements.
UV = r"""
case "$*" in
  venv*) mkdir -p "${!#}/bin" && cp "$CLOUD/python" "${!#}/bin/python" ;;
  *--requirements*) cat "${!#}" >>"$CLOUD/pinned" ;;
esac
"""

# The run on a slice of one host, which JAX recognizes as a job of one process. Once the run has saved a checkpoint, the
# machine is gone.
PYTHON = r"""#!/usr/bin/env bash
export SLURM_JOB_ID=$RANDOM SLURM_STEP_NODELIST=localhost SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0
newest() {
  local path step newest=0
  for path in "$RUN"/checkpoints/*; do
    step=${path##*/}
    if [[ $step =~ ^[0-9]+$ ]] && ((step > newest)); then newest=$step; fi
  done
  echo "$newest"
}
before=$(newest)
number=$(find "$CLOUD" -name 'preemption*' | wc -l)
"$REAL" "$@" &
if ((number < PREEMPTIONS)); then
  while kill -0 $! && (($(newest) == before)); do /bin/sleep 0.02; done
  if kill -0 $!; then
    touch "$CLOUD/preempted" "$CLOUD/preemption$number"
    kill -KILL $PPID $! # and the script that would note the exit code
  fi
fi
wait $!
"""


@pytest.fixture
def cloud_of_one_host(place):
    """The folder of the cloud, and the launcher of a checkout with pinned requirements."""
    folder, checkout = place.folder / "cloud", place.folder / "checkout"
    folder.mkdir()
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    for name, does in (("gcloud", GCLOUD), ("uv", UV), ("sleep", "exec /bin/sleep 0.4")):
        place.stand_in(name, does)
    for name in ("benchmarks", "launch", "configs", "diffenc_jax"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    (checkout / "requirements").mkdir()
    (checkout / "requirements" / "lock-tpu.txt").write_text("jax==1\n")
    place.environment |= {"CLOUD": str(folder), "REAL": sys.executable, "PREEMPTIONS": str(PREEMPTIONS)}
    return folder, checkout / "launch" / "tpu.sh"


@pytest.mark.slow
@pytest.mark.long
def test_a_run_that_is_preempted_ten_times_ends_bit_for_bit_like_another(place, cloud_of_one_host):
    cloud, launcher = cloud_of_one_host
    config, broken, whole = place.folder / "small.py", place.folder / "broken", place.folder / "whole"
    config.write_text(tiny.file(data__source=str(write_images(place.folder / "images.npz")), **CHANGES))
    kind = ["--type=v5litepod-4", "--runtime=r", "--spot", "--yes", "--every=1", "--restarts=1"]
    flags = [f"--config={config}", f"--workdir={broken}"]
    done = place.run(launcher, "watch", *SLICE, *kind, "--", *flags, RUN=str(broken), timeout=900)
    said = f"{done.stderr}\n{(cloud / 'logs').read_text()}"
    assert done.returncode == 0, said
    assert done.stderr.count(": SUSPENDED\n") == PREEMPTIONS, said
    assert (cloud / "pinned").read_text() == "jax==1\n" * (PREEMPTIONS + 1), said
    starts = [shlex.split(call[-1]) for call in place.calls() if "tpu_host.sh start" in call[-1]]
    assert starts == [starts[0]] * (PREEMPTIONS + 1)

    alone = place.run("-m", "diffenc_jax.main", flags[0], f"--workdir={whole}", program=sys.executable, timeout=300)
    assert alone.returncode == 0, alone.stderr
    assert_same_run(broken, whole)
    (ours,), (theirs,) = ([read_values(p) for p in (workdir / "eval").glob("*.json")] for workdir in (broken, whole))
    np.testing.assert_equal(ours, theirs)


TINY = tiny.file(train__steps=6, log__every_steps=2, checkpoint__every_steps=100_000)


def start_run(folder, launcher, *flags):
    """A real run with two simulated devices per process."""
    (folder / "small.py").write_text(TINY)
    program, *arguments = [*launcher, f"--config={folder}/small.py", *flags]
    environment = {"XLA_FLAGS": processes.QUICKLY_COMPILED, "PYTHON": sys.executable}
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
