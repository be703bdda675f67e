"""The properties that all launchers share."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.stand_ins import (
    ACTIONS,
    CONFIG,
    GKE,
    KIND,
    LAUNCH,
    POOL,
    PROGRAM,
    ROOT,
    SCRIPTS,
    SLICE,
    TPU,
    assert_refused,
)


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
        assert [shlex.split(line) for line in printed.splitlines() if line[0] != "#"] == cloud.calls()


@pytest.mark.parametrize(("script", "action", "options"), ACTIONS)
def test_without_its_program_a_launcher_says_which(place, script, action, options):
    for name in ("bash", "dirname"):  # but no other program
        (place.bin / name).symlink_to(shutil.which(name))
    done = place.run(LAUNCH / script, action, *options, PATH=str(place.bin))
    assert_refused(done, f"{PROGRAM[script]} is not found on PATH; ")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("tpu.sh", "unknown action ''; known: create, setup, run, tail, logs, stop, delete, watch"),
        ("tpu.sh fly", "unknown action fly; known: create"),
        ("tpu.sh setup --zone=z", "--name is missing"),
        ("tpu.sh setup --name=n", "--zone is missing"),
        ("tpu.sh setup --name=n --zone=", "--zone is missing"),
        ("tpu.sh setup --name=n --zone", "--zone has no value; give --zone=VALUE"),
        (
            "tpu.sh setup --name=n --zone=z --spot",
            "unknown argument --spot; known: --name= --zone= --project= --gcloud= --mount=",
        ),
        ("tpu.sh setup --name=n --zone=z again", "unknown argument again"),
        ("tpu.sh setup --name=n --zone=z -- --config=c", "setup takes nothing after --"),
        ("tpu.sh setup --name=--all --zone=z", "--name=--all must be at most 40 lower-case letters"),
        ("tpu.sh setup '--name=n;rm -r x' --zone=z", r"--name=n\;rm\ -r\ x must be at most 40 lower-case letters"),
        ("tpu.sh create --name=n --zone=z --type=t", "--runtime is missing"),
        ("tpu.sh run --name=n --zone=z", "--config is missing after --; give -- --config=configs/cifar10.py"),
        ("tpu.sh run --name=n --zone=z -- --config=c", "--workdir is missing after --; give -- --workdir=gs://BUCKET/"),
        ("tpu.sh run --name=n --zone=z --bucket=gs://b -- --config=c", "--bucket=gs://b is not the name of a bucket"),
        (
            "tpu.sh run --name=n --zone=z --bucket=b -- --config=c --workdir gs://c/d",
            "give either --bucket or --workdir",
        ),
        (
            "tpu.sh watch --name=n --zone=z --type=t --runtime=r -- --config=c --workdir=runs/a",
            "--workdir=runs/a is on the hosts, whose disks a preemption deletes; give --workdir=gs://BUCKET/",
        ),
        (
            "tpu.sh watch --name=n --zone=z --type=t --runtime=r -- --config=c --workdir /mnt/runs/a",
            "--workdir=/mnt/runs/a is where a bucket is mounted; give --mount=BUCKET",
        ),
        ("tpu.sh stop --name=n --zone=z '--gcloud=--a \"b'", r"--gcloud=--a\ \"b has a quote that is not closed"),
        (
            "tpu.sh watch --name=n --zone=z --type=t --runtime=r --every=0 -- --config=c --workdir=w",
            "--every=0 is not a whole number",
        ),
        ("gke.sh fly", "unknown action fly; known: run, status, tail, logs, stop, delete"),
        ("gke.sh tail", "--name is missing"),
        ("gke.sh tail --name=N", "--name=N must be at most 40 lower-case letters"),
        ("gke.sh run --name=n", "--image is missing"),
        (
            "gke.sh run --name=n --image=i --accelerator=a --topology=t --hosts=x --chips=4 --claim=c",
            "--hosts=x is not a whole number",
        ),
        ("gke.sh run --name=n --image=i --accelerator=a --topology=t --hosts=4", "--chips is missing"),
        (
            "gke.sh run --name=n --image=i --accelerator=a --topology=t --hosts=4 --chips=4 -- --config=c --workdir=/r",
            "--workdir=/r is in a pod, whose files are lost with it; give gs://BUCKET/..., or --claim",
        ),
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
        ("tpu.sh", "create", [*SLICE, *KIND]),
        ("tpu.sh", "create", [*SLICE, *KIND, "--queued"]),
        ("tpu.sh", "delete", SLICE),
        ("tpu.sh", "delete", [*SLICE, "--queued"]),
        ("tpu.sh", "watch", TPU["watch"]),
        ("gke.sh", "run", [option for option in GKE["run"] if option != "--yes"]),
        ("gke.sh", "delete", ["--name=set"]),
    ],
)
def test_nothing_is_created_or_deleted_unless_yes_is_typed(cloud, script, action, options, typed):
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


@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        ("tpu.sh", ["--type=v5litepod-16"], "slice: 16 TPU chips (v5litepod-16, not spot) in z, which cost money from"),
        ("tpu.sh", ["--type=v6e-8", "--spot"], "slice: 8 TPU chips (v6e-8, spot) in z"),
        ("tpu.sh", ["--type=v5p-128", "--queued"], "slice: 64 TPU chips (v5p-128, not spot) in z"),
        ("tpu.sh", ["--type=v4-8"], "slice: 4 TPU chips (v4-8, not spot) in z"),
        ("tpu.sh", ["--type=v9-8"], "slice: an unknown number of TPU chips (v9-8, not spot) in z"),
        ("gke.sh", [], "set: 32 TPU chips on 4 hosts (a 4x4, not spot), which cost money from"),
        ("gke.sh", ["--slices=2", "--spot"], "set: 64 TPU chips on 8 hosts (a 4x4, spot), which cost money from"),
    ],
)
def test_what_is_created_and_costs_money_is_said_first(cloud, script, options, said):
    action, base = ("create", [*SLICE, "--runtime=r"]) if script == "tpu.sh" else ("run", GKE["run"])
    base = [option for option in base if option != "--yes"]
    command = [LAUNCH / script, action, *options, *base]
    asked = cloud.run(*command, typed="yes\n")
    assert asked.returncode == 0
    assert asked.stderr.startswith(said)
    assert asked.stderr.endswith(" Type yes to continue: ")
    agreed = cloud.run(LAUNCH / script, action, "--yes", *options, *base)
    assert asked.stderr == agreed.stderr.strip() + " Type yes to continue: "
    assert cloud.run(LAUNCH / script, action, "--dry-run", *options, *base).stdout.startswith(f"# {said}")


@pytest.mark.parametrize("script", ["tpu.sh", "gke.sh"])
def test_a_bucket_holds_the_workdir(cloud, script):
    """--bucket=B is short for --workdir=gs://B/NAME."""
    action, options = ("run", SLICE) if script == "tpu.sh" else ("run", ["--name=set", *POOL[:-1]])
    name = "slice" if script == "tpu.sh" else "set"
    done = cloud.run(LAUNCH / script, action, "--dry-run", "--bucket=b.c-d_1", *options, "--", CONFIG)
    assert done.returncode == 0, done.stderr
    assert f"--workdir=gs://b.c-d_1/{name}" in done.stdout
    assert "/mnt/runs" not in done.stdout
