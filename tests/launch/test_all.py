"""The properties that all launchers share."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.stand_ins import ACTIONS, LAUNCH, PROGRAM, ROOT, SCRIPTS, SLICE, TPU, assert_refused


def test_shellcheck_finds_nothing():
    command = [Path(sys.executable).parent / "shellcheck", "--external-sources", *SCRIPTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_strict_and_documented(script):
    first, *rest = script.read_text().splitlines()
    assert rest[0].startswith("# ")
    if script.name == "common.sh":  # the others source it
        return
    assert first == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in rest
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("script", ["local.sh", *PROGRAM])
def test_help_is_the_header(place, script):
    done = place.run(LAUNCH / script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"launch/{script}" in done.stdout
    assert "--dry-run" in done.stdout
    assert "set -euo" not in done.stdout


@pytest.mark.parametrize(("script", "action", "options"), ACTIONS)
def test_a_dry_run_prints_and_runs_nothing(cloud, script, action, options):
    done = cloud.run(LAUNCH / script, action, "--dry-run", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^{PROGRAM[script]} ", done.stdout, re.MULTILINE)
    assert cloud.calls() == []
    assert sorted(cloud.folder.iterdir()) == [cloud.bin]


def test_a_dry_run_prints_what_is_then_run(cloud):
    for script, action in (("tpu.sh", "create"), ("tpu.sh", "run"), ("gke.sh", "status"), ("slurm.sh", "run")):
        options = next(options for *which, options in ACTIONS if which == [script, action])
        printed = cloud.run(LAUNCH / script, action, "--dry-run", *options).stdout
        cloud.record.unlink(missing_ok=True)
        assert cloud.run(LAUNCH / script, action, *options).returncode == 0
        assert [shlex.split(line) for line in printed.splitlines()] == cloud.calls()


@pytest.mark.parametrize(("script", "action", "options"), ACTIONS)
def test_without_its_program_a_launcher_says_which(place, script, action, options):
    for name in ("bash", "dirname"):  # but no other program
        (place.bin / name).symlink_to(shutil.which(name))
    done = place.run(LAUNCH / script, action, *options, PATH=str(place.bin))
    assert_refused(done, f"{PROGRAM[script]} is not found on PATH; ")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("tpu.sh", "unknown action ''; known: create, setup, run, tail, stop, delete, watch"),
        ("tpu.sh fly", "unknown action fly; known: create"),
        ("tpu.sh setup --zone=z", "--name is missing"),
        ("tpu.sh setup --name=n", "--zone is missing"),
        ("tpu.sh setup --name=n --zone=", "--zone is missing"),
        ("tpu.sh setup --name=n --zone", "--zone has no value; give --zone=VALUE"),
        (
            "tpu.sh setup --name=n --zone=z --spot",
            "unknown argument --spot; known: --name= --zone= --project= --bucket=",
        ),
        ("tpu.sh setup --name=n --zone=z again", "unknown argument again"),
        ("tpu.sh setup --name=n --zone=z -- --config=c", "setup takes nothing after --"),
        ("tpu.sh setup --name=--all --zone=z", "--name=--all must be at most 40 lower-case letters"),
        ("tpu.sh setup '--name=n;rm -r x' --zone=z", r"--name=n\;rm\ -r\ x must be at most 40 lower-case letters"),
        ("tpu.sh create --name=n --zone=z --type=t", "--runtime is missing"),
        ("tpu.sh run --name=n --zone=z", "--config is missing after --; give -- --config=configs/cifar10.py"),
        ("tpu.sh run --name=n --zone=z -- --config=c", "--workdir is missing after --; give -- --workdir=/mnt/runs/"),
        (
            "tpu.sh watch --name=n --zone=z --type=t --runtime=r --every=0 -- --config=c --workdir=w",
            "--every=0 is not a whole number",
        ),
        ("gke.sh fly", "unknown action fly; known: run, status, tail, stop, delete"),
        ("gke.sh tail", "--name is missing"),
        ("gke.sh tail --name=N", "--name=N must be at most 40 lower-case letters"),
        ("gke.sh run --name=n", "--image is missing"),
        (
            "gke.sh run --name=n --image=i --accelerator=a --topology=t --hosts=x --chips=4 --claim=c",
            "--hosts=x is not a whole number",
        ),
        ("gke.sh run --name=n --image=i --accelerator=a --topology=t --hosts=4 --chips=4", "--claim is missing"),
        ("slurm.sh fly", "unknown action fly; known: run, array"),
        ("slurm.sh run", "--config is missing after --"),
        ("slurm.sh run --gpus=none -- --config=c", "--gpus=none is not a whole number above zero"),
        ("slurm.sh array -- --config=c", "--root is missing"),
        ("local.sh", "--config is missing after --; give -- --config=configs/digits.py"),
        ("local.sh --processes=two -- --config=c", "--processes=two is not a whole number above zero"),
        ("local.sh --config=c", "unknown argument --config=c; known: --processes= --devices= --dry-run --help"),
    ],
)
def test_bad_input(cloud, command, message):
    script, *args = shlex.split(command)
    assert_refused(cloud.run(LAUNCH / script, *args), message)
    assert cloud.calls() == []


@pytest.mark.parametrize("typed", ["", "no\n", "y\n", "\n"])
@pytest.mark.parametrize(
    ("script", "action", "options"),
    [
        ("tpu.sh", "delete", SLICE),
        ("tpu.sh", "delete", [*SLICE, "--queued"]),
        ("tpu.sh", "watch", TPU["watch"]),
        ("gke.sh", "delete", ["--name=set"]),
    ],
)
def test_nothing_is_deleted_unless_yes_is_typed(cloud, script, action, options, typed):
    done = cloud.run(LAUNCH / script, action, *options, typed=typed)
    assert done.returncode == 2
    assert "not confirmed; nothing was done" in done.stderr
    assert cloud.calls() == []


@pytest.mark.parametrize(
    ("script", "options", "call"),
    [
        ("tpu.sh", SLICE, "gcloud compute tpus tpu-vm delete slice --zone=z --quiet"),
        ("tpu.sh", [*SLICE, "--queued"], "gcloud compute tpus queued-resources delete slice --zone=z --force --quiet"),
        ("gke.sh", ["--name=set", "--namespace=s"], "kubectl delete jobset set --namespace=s"),
    ],
)
def test_a_confirmed_deletion_happens(cloud, script, options, call):
    assert cloud.run(LAUNCH / script, "delete", *options, typed="yes\n").returncode == 0
    assert cloud.run(LAUNCH / script, "delete", "--yes", *options).returncode == 0
    assert cloud.calls() == [call.split()] * 2
