"""The launchers, with stand-ins for the commands of clouds and clusters that record what they are given."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
HOSTILE = "--config.name=a b;$(touch pwned) 'c' \"d\" & \\e `f` ${HOME} *"
CONFIG, WORKDIR = "--config=configs/digits.py", "--workdir=/mnt/runs/digits"
FLAGS = [CONFIG, WORKDIR, HOSTILE]

SLICE = ["--name=slice", "--zone=z"]
KIND = ["--type=v5litepod-16", "--runtime=v2-alpha"]
TPU = {
    "create": [*SLICE, *KIND],
    "setup": SLICE,
    "run": [*SLICE, "--", *FLAGS],
    "tail": SLICE,
    "stop": SLICE,
    "delete": SLICE,
    "watch": [*SLICE, *KIND, "--", *FLAGS],
}
POOL = ["--image=i", "--accelerator=a", "--topology=4x4", "--hosts=4", "--chips=8", "--claim=c"]
GKE = {
    "run": ["--name=set", *POOL, "--", *FLAGS],
    "status": ["--name=set"],
    "tail": ["--name=set"],
    "stop": ["--name=set"],
    "delete": ["--name=set"],
}
SLURM = {
    "run": ["--", *FLAGS],
    "array": ["--root=a root", "--", CONFIG, "--arms=vdm,diffenc", "--seeds=0-1", "--passes=4"],
}
ACTIONS = [
    *(("tpu.sh", action, options) for action, options in TPU.items()),
    *(("gke.sh", action, options) for action, options in GKE.items()),
    *(("slurm.sh", action, options) for action, options in SLURM.items()),
]
PROGRAM = {"tpu.sh": "gcloud", "gke.sh": "kubectl", "slurm.sh": "sbatch"}

RECORDS = r"""#!/usr/bin/env bash
printf '%s\0' "${0##*/}" "$@" $'\036' >>"$RECORD"
"""
ANSWERS = """
answer() {
  local line
  line=$(head -n 1 "$1")
  sed -i 1d "$1"
  if [[ $line == ABSENT || $line == unreachable ]]; then exit 1; fi
  echo "$line"
}
if [[ " $* " == *" describe "* ]]; then answer "$STATES"; fi
if [[ "$*" == *"tpu_host.sh status "* ]]; then answer "$STATUSES"; fi
"""
SRUN = """
until [[ $1 == bash || $1 == python ]]; do shift; done
"$@"
"""


class Place:
    """A folder with stand-ins on PATH, and what they recorded."""

    def __init__(self, folder):
        self.folder, self.bin, self.record = folder, folder / "bin", folder / "record"
        self.bin.mkdir()
        self.environment = os.environ | {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "RECORD": str(self.record),
            "HOME": str(folder),
        }
        for name in ("XLA_FLAGS", "PYTHON"):
            self.environment.pop(name, None)

    def stand_in(self, name, does=""):
        path = self.bin / name
        path.write_text(RECORDS + does)
        path.chmod(0o755)
        return path

    def calls(self):
        """A list of words for each call that was recorded."""
        text = self.record.read_text() if self.record.exists() else ""
        return [call.split("\0")[:-1] for call in text.split("\036\0")[:-1]]

    def run(self, script, *args, cwd=None, typed="", **environment):
        return subprocess.run(
            ["bash", script, *args],
            cwd=cwd or self.folder,
            env=self.environment | environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def cloud(place):
    for name in ("gcloud", "kubectl", "srun", "scontrol"):
        place.stand_in(name)
    place.stand_in("sbatch", 'if [[ " $* " == *" --parsable "* ]]; then echo "77;cluster"; fi')
    return place


def assert_refused(done, message):
    """One line on standard error says so."""
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


# All of them.


def test_shellcheck_finds_nothing():
    command = [Path(sys.executable).parent / "shellcheck", "--external-sources", *SCRIPTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_strict_and_says_what_it_is(script):
    first, *rest = script.read_text().splitlines()
    assert rest[0].startswith("# ")
    if script.name == "common.sh":  # sourced by those that are
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
    for name in ("bash", "dirname"):  # and nothing that is installed here
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
        ("tpu.sh setup --name=--all --zone=z", "--name=--all must be small letters, digits and -"),
        ("tpu.sh setup '--name=n;rm -r x' --zone=z", r"--name=n\;rm\ -r\ x must be small letters"),
        ("tpu.sh create --name=n --zone=z --type=t", "--runtime is missing"),
        ("tpu.sh run --name=n --zone=z", "--config is missing after --; give -- --config=configs/cifar10.py"),
        ("tpu.sh run --name=n --zone=z -- --config=c", "--workdir is missing after --; give -- --workdir=/mnt/runs/"),
        ("tpu.sh watch --name=n --zone=z --type=t --runtime=r --every=0 -- --config=c --workdir=w", "--every=0 is no"),
        ("gke.sh fly", "unknown action fly; known: run, status, tail, stop, delete"),
        ("gke.sh tail", "--name is missing"),
        ("gke.sh tail --name=N", "--name=N must be small letters"),
        ("gke.sh run --name=n", "--image is missing"),
        ("gke.sh run --name=n --image=i --accelerator=a --topology=t --hosts=x --chips=4 --claim=c", "--hosts=x is no"),
        ("gke.sh run --name=n --image=i --accelerator=a --topology=t --hosts=4 --chips=4", "--claim is missing"),
        ("slurm.sh fly", "unknown action fly; known: run, array"),
        ("slurm.sh run", "--config is missing after --"),
        ("slurm.sh run --gpus=none -- --config=c", "--gpus=none is no whole number above zero"),
        ("slurm.sh array -- --config=c", "--root is missing"),
        ("local.sh", "--config is missing after --; give -- --config=configs/digits.py"),
        ("local.sh --processes=two -- --config=c", "--processes=two is no whole number above zero"),
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
def test_what_is_confirmed_is_deleted(cloud, script, options, call):
    assert cloud.run(LAUNCH / script, "delete", *options, typed="yes\n").returncode == 0
    assert cloud.run(LAUNCH / script, "delete", "--yes", *options).returncode == 0
    assert cloud.calls() == [call.split()] * 2


# Cloud TPU.


def test_a_slice_is_made(cloud):
    options = ["--name=slice", "--zone=a b", "--project=p;q", "--type=$(t)", "--runtime=r'"]
    assert cloud.run(LAUNCH / "tpu.sh", "create", *options, "--spot").returncode == 0
    assert cloud.run(LAUNCH / "tpu.sh", "create", *options, "--queued").returncode == 0
    where, kind = ["--zone=a b", "--project=p;q"], ["--accelerator-type=$(t)"]
    made = ["gcloud", "compute", "tpus", "tpu-vm", "create", "slice", *where, *kind, "--version=r'", "--spot"]
    asked = ["gcloud", "compute", "tpus", "queued-resources", "create", "slice", "--node-id=slice", *where, *kind]
    assert cloud.calls() == [made, [*asked, "--runtime-version=r'"]]


def ssh(worker, command):
    where = ["--zone=z", f"--worker={worker}", f"--command={command}"]
    return ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "slice", *where]


def test_setup_takes_the_package_to_all_hosts(cloud):
    archive = cloud.folder / "archive"
    cloud.stand_in("gcloud", f'if [[ $4 == scp ]]; then cp "$5" {shlex.quote(str(archive))}; fi')
    assert cloud.run(LAUNCH / "tpu.sh", "setup", *SLICE, "--bucket=b; c").returncode == 0
    copy, install = cloud.calls()
    sent, target, *where = copy[5:]
    assert (target, where) == ("slice:diffenc_jax.tar.gz", ["--zone=z", "--worker=all"])
    assert not Path(sent).exists()
    unpack = "mkdir -p diffenc_jax && tar -xzf diffenc_jax.tar.gz -C diffenc_jax && "
    assert install == ssh("all", unpack + r"bash diffenc_jax/launch/tpu_host.sh setup b\;\ c")
    names = subprocess.run(["tar", "-tzf", archive], capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = {"configs/cifar10.py", "diffenc_jax/main.py", "launch/tpu_host.sh", "pyproject.toml", "README.md"}
    assert wanted <= set(names)


def test_setup_that_fails_leaves_nothing_here_and_says_so(cloud):
    cloud.stand_in("gcloud", "exit 3")
    scratch = cloud.folder / "scratch"
    scratch.mkdir()
    assert cloud.run(LAUNCH / "tpu.sh", "setup", *SLICE, TMPDIR=str(scratch)).returncode == 3
    assert list(scratch.iterdir()) == []


def test_tail_and_stop(cloud):
    for action, options in (("tail", []), ("tail", ["--worker=2"]), ("stop", [])):
        assert cloud.run(LAUNCH / "tpu.sh", action, *SLICE, *options).returncode == 0
    host = "bash diffenc_jax/launch/tpu_host.sh"
    assert cloud.calls() == [ssh("0", f"{host} tail"), ssh("2", f"{host} tail"), ssh("all", f"{host} stop")]


@pytest.fixture
def host(place):
    """A host of a slice after setup, whose python records, and goes on until it is told to stop."""
    (place.folder / "diffenc_jax" / "launch").mkdir(parents=True)
    (place.folder / "diffenc_jax" / ".venv" / "bin").mkdir(parents=True)
    (place.folder / "diffenc_jax" / "launch" / "tpu_host.sh").write_text((LAUNCH / "tpu_host.sh").read_text())
    python = place.stand_in(
        "python", "echo hello\ntrap 'exit 143' TERM\nfor ((i = 0; i < 300; i++)); do sleep 0.1; done"
    )
    python.rename(place.folder / "diffenc_jax" / ".venv" / "bin" / "python")
    yield place
    place.run(place.folder / "diffenc_jax" / "launch" / "tpu_host.sh", "stop")


def on_host(host, command):
    return host.run("-c", command)


def test_what_run_sends_starts_main_on_a_host(cloud, host):
    assert cloud.run(LAUNCH / "tpu.sh", "run", *TPU["run"]).returncode == 0
    (sent,) = cloud.calls()
    assert sent[:-1] == ssh("all", "")[:-1]
    cloud.record.unlink()
    command = sent[-1].removeprefix("--command=")
    assert on_host(host, command).returncode == 0
    while not host.calls():
        time.sleep(0.05)
    assert host.calls() == [["python", "-m", "diffenc_jax.main", "--distributed", *FLAGS]]
    assert_refused(on_host(host, command), "a run is going on ")


def test_a_hosts_run_is_watched_and_stopped(host):
    def do(*words):
        return on_host(host, shlex.join(["bash", "diffenc_jax/launch/tpu_host.sh", *words])).stdout

    assert do("status", *FLAGS) == "none\n"
    do("stop")  # nothing
    do("start", *FLAGS)
    assert do("status", *FLAGS) == "running\n"
    assert do("status", CONFIG) == "other\n"
    log = host.folder / "diffenc_jax" / ".run" / "log"
    while not log.exists() or "hello" not in log.read_text():
        time.sleep(0.05)
    do("stop")
    while do("status", *FLAGS) == "none\n":  # until its exit code is written
        time.sleep(0.05)
    assert do("status", *FLAGS) == "ended 143\n"
    assert do("status", CONFIG) == "none\n"  # of another run nothing is known
    (host.folder / "diffenc_jax" / ".run" / "code").unlink()
    assert do("status", *FLAGS) == "none\n"  # as after a power cut


def test_setup_on_a_host(host):
    for name in ("uv", "mountpoint", "sudo", "gcsfuse"):
        host.stand_in(name, "exit 1" if name == "mountpoint" else "")
    script = host.folder / "diffenc_jax" / "launch" / "tpu_host.sh"
    assert host.run(script, "setup", "").returncode == 0
    home = script.parent.parent
    installed = ["uv", "pip", "install", "--quiet", "--python", f"{home}/.venv/bin/python", f"{home}[tpu]"]
    assert [call[0] for call in host.calls()] == ["uv", "uv"]
    assert host.calls()[1] == installed
    assert host.run(script, "setup", "b c").returncode == 0
    assert host.calls()[-1] == ["gcsfuse", "--implicit-dirs", "--rename-dir-limit=100000", "b c", "/mnt/runs"]


def watch(cloud, states, statuses, *options):
    """What watch ends with, and what it did, when these are the answers to its questions."""
    for name, lines in (("STATES", states), ("STATUSES", statuses)):
        (cloud.folder / name).write_text("".join(line + "\n" for line in lines))
        cloud.environment[name] = str(cloud.folder / name)
    cloud.stand_in("gcloud", ANSWERS)
    cloud.stand_in("sleep")
    done = cloud.run(LAUNCH / "tpu.sh", "watch", *SLICE, *KIND, "--spot", "--yes", *options, "--", *FLAGS)
    sent = subprocess.run(
        ["bash", "-c", 'printf "%q " "$@"', "-", *FLAGS], capture_output=True, text=True
    ).stdout.strip()
    verbs = [(call[4], call[-1].rpartition("tpu_host.sh ")[2]) for call in cloud.calls() if call[0] == "gcloud"]
    verbs = [last.replace("status " + sent, "status") if verb == "ssh" else verb for verb, last in verbs]
    return done, [verb for verb in verbs if verb != "describe"]


def test_watch_goes_on_through_a_preemption_to_the_end(cloud):
    states = ["ABSENT", "PROVISIONING", "ACTIVE", "ACTIVE", "ACTIVE", "SUSPENDING", "SUSPENDED", "ACTIVE", "ACTIVE"]
    done, did = watch(cloud, states, ["none", "running", "unreachable", "none", "ended 0"])
    assert done.returncode == 0, done.stderr
    start = next(verb for verb in did if verb.startswith("start"))
    assert shlex.split(start) == ["start", *FLAGS]
    begin = ["status", "scp", "setup ''", "stop", start]
    assert did == ["create", *begin, "status", "status", "delete", "create", *begin, "status"]
    assert [call for call in cloud.calls() if call[0] == "sleep"] == [["sleep", "60"]] * 8


def test_watch_takes_the_slice_as_it_was_asked_for(cloud):
    watch(cloud, ["ABSENT", "SUSPENDED", "FAILED"], [])
    first, second = (call for call in cloud.calls() if "create" in call)
    asked = ["queued-resources", "create", "slice", "--node-id=slice", "--zone=z", "--accelerator-type=v5litepod-16"]
    assert first == second == ["gcloud", "compute", "tpus", *asked, "--runtime-version=v2-alpha", "--spot"]


@pytest.mark.parametrize(
    ("states", "statuses", "message", "starts"),
    [
        (["FAILED"], [], "error: the request for slice has failed", 0),
        (["ACTIVE"], ["other"], "error: another run is going on there; stop it first", 0),
        (["ACTIVE"], ["ended 2"], "error: the run found its input wrong", 0),
        (["ACTIVE"] * 3, ["ended 1", "running", "ended 1"], "error: the run has failed and was begun again 1 times", 1),
    ],
)
def test_watch_gives_up(cloud, states, statuses, message, starts):
    done, did = watch(cloud, states, statuses, "--restarts=1")
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert sum(verb.startswith("start ") for verb in did) == starts


# GKE.


def manifest_of(cloud, *options):
    """The JobSet that kubectl is given."""
    path = cloud.folder / "manifest"
    cloud.stand_in("kubectl", f"cat >{shlex.quote(str(path))}")
    done = cloud.run(LAUNCH / "gke.sh", "run", *options)
    assert (done.returncode, done.stderr) == (0, "")
    return yaml.safe_load(path.read_text())


def test_a_jobset_has_a_pod_a_host(cloud):
    manifest = manifest_of(cloud, "--spot", "--restarts=7", "--namespace=s", *GKE["run"])
    assert cloud.calls() == [["kubectl", "apply", "--namespace=s", "--filename=-"]]
    assert (manifest["kind"], manifest["metadata"]["name"]) == ("JobSet", "set")
    assert manifest["spec"]["failurePolicy"] == {"maxRestarts": 7}
    (slices,) = manifest["spec"]["replicatedJobs"]
    job = slices["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["completionMode"]) == (4, 4, "Indexed")
    assert job["backoffLimit"] == 0  # or JobSet would not start all anew
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "a",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"google.com/tpu": 8}
    assert container["volumeMounts"] == [{"name": "runs", "mountPath": "/mnt/runs"}]
    assert pod["volumes"] == [{"name": "runs", "persistentVolumeClaim": {"claimName": "c"}}]


def test_without_spot_any_node_will_do(cloud):
    pod = manifest_of(cloud, *GKE["run"])["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert "cloud.google.com/gke-spot" not in pod["nodeSelector"]
    assert "tolerations" not in pod


def test_a_pods_command_is_what_was_given(cloud):
    """Once Kubernetes has read it: $$ is a dollar, $(NAME) a variable."""
    odd = [HOSTILE, "--config.x=a\nb\tc: - # {} [] \\n", "--config.y=$$(HOME)$(HOME)$", "--config.z=é 'ü'"]
    image = 'i"\\m: #'
    manifest = manifest_of(cloud, "--name=set", f"--image={image}", *POOL[1:], "--", CONFIG, WORKDIR, *odd)
    container = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]
    read = [word.replace("$$", "$") for word in container["command"]]
    assert read == ["python", "-m", "diffenc_jax.main", "--distributed", CONFIG, WORKDIR, *odd]
    assert not any(re.search(r"(?<!\$)(\$\$)*\$(?!\$)", word) for word in container["command"])
    assert container["image"] == image


def test_a_jobset_is_looked_at_and_stopped(cloud):
    for action in ("status", "tail", "stop"):
        assert cloud.run(LAUNCH / "gke.sh", action, "--name=set", "--namespace=n s").returncode == 0
    where, label = "--namespace=n s", "jobset.sigs.k8s.io/jobset-name=set"
    first = f"--selector={label},batch.kubernetes.io/job-completion-index=0"
    assert cloud.calls() == [
        ["kubectl", "get", "jobset", "set", where],
        ["kubectl", "get", "pods", where, f"--selector={label}", "--output=wide"],
        ["kubectl", "logs", where, first, "--tail=50", "--follow"],
        ["kubectl", "patch", "jobset", "set", where, "--type=merge", '--patch={"spec":{"suspend":true}}'],
    ]


# SLURM.

QUEUE = ["--time=24:00:00", "--cpus-per-task=4", "--signal=TERM@120", "--requeue", "--open-mode=append"]
JOB = str(LAUNCH / "slurm_job.sh")


def test_a_run_has_a_process_a_gpu(cloud):
    options = ["--nodes=2", "--gpus=4", "--name=a b", "--partition=p;q", "--account=$(a)"]
    assert cloud.run(LAUNCH / "slurm.sh", "run", *options, "--", *FLAGS).returncode == 0
    where = ["--job-name=a b", "--partition=p;q", "--account=$(a)"]
    share = ["--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4"]
    assert cloud.calls() == [["sbatch", *where, *QUEUE, *share, JOB, "run", *FLAGS]]


def test_an_array_runs_the_plan_and_then_reports(cloud):
    root = cloud.folder / "a $(root)"
    done = cloud.run(LAUNCH / "slurm.sh", "array", f"--root={root}", "--parallel=3", *SLURM["array"][1:], cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    array, report = cloud.calls()
    name, share = ["--job-name=diffenc"], ["--array=1-6%3", "--ntasks=1", "--gpus=1"]
    assert array == ["sbatch", "--parsable", *name, *QUEUE, *share, JOB, "line", f"{root}/jobs.txt"]
    after = ["--dependency=afterany:77", "--time=1:00:00", "--ntasks=1"]
    assert report == ["sbatch", *name, *after, JOB, "report", str(root)]
    lines = (root / "jobs.txt").read_text().splitlines()
    runs = [f"--workdir={root}/{arm}-seed{seed}" for seed in (0, 1) for arm in ("vdm", "diffenc")]
    for line, workdir in zip(lines, runs, strict=False):
        assert shlex.split(line).count(workdir) == 2  # trained, and evaluated in more passes
    assert len(lines) == len(runs) + 2  # what a step of each arm costs


def test_an_array_without_a_plan_is_not_submitted(cloud):
    done = cloud.run(LAUNCH / "slurm.sh", "array", f"--root={cloud.folder}/r", "--", "--config=no.py", "--arms=vdm")
    assert done.returncode == 2
    assert "--seeds is missing" in done.stderr
    assert cloud.calls() == []


def job(cloud, *words, **environment):
    return cloud.run(JOB, *words, SLURM_JOB_ID="5", SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="2", **environment)


def test_a_job_starts_main_through_srun(cloud):
    assert job(cloud, "run", *FLAGS).returncode == 0
    main = ["python", "-m", "diffenc_jax.main", "--distributed", *FLAGS]
    assert cloud.calls() == [["srun", "--kill-on-bad-exit=1", "--gpu-bind=none", *main]]


def test_a_task_runs_its_line_to_the_first_failure(cloud):
    cloud.stand_in("srun", SRUN)
    cloud.stand_in("python", "[[ $1 != three ]]")
    (cloud.folder / "jobs.txt").write_text("python one\npython 'two $x' && python three && python four\npython five\n")
    assert job(cloud, "line", "jobs.txt").returncode == 1
    assert cloud.calls()[1:] == [["python", "two $x"], ["python", "three"]]


def test_a_tasks_shell_waits_for_its_python_to_save(cloud):
    cloud.stand_in("srun", SRUN)
    cloud.stand_in("python", "kill -TERM $PPID; sleep 0.2; echo saved; exit 143")  # as SLURM tells all processes
    (cloud.folder / "jobs.txt").write_text("\npython one && python two\n")
    done = job(cloud, "line", "jobs.txt")
    assert (done.returncode, done.stdout) == (143, "saved\n")
    assert cloud.calls()[1:] == [["python", "one"], ["scontrol", "requeue", "7_2"]]


@pytest.mark.parametrize(
    ("srun", "code", "requeued"),
    [
        ("exit 143", 143, True),  # it was told to save
        ("kill -TERM $PPID; exit 143", 143, False),  # scancel, which tells the script too
        ("exit 1", 1, False),
        ("exit 0", 0, False),
    ],
)
def test_what_saved_is_queued_again(cloud, srun, code, requeued):
    cloud.stand_in("srun", srun)
    assert job(cloud, "run", CONFIG).returncode == code
    assert cloud.calls()[1:] == ([["scontrol", "requeue", "5"]] if requeued else [])


def test_a_report_is_made(cloud):
    cloud.stand_in("python")
    assert job(cloud, "report", "a root").returncode == 0
    assert cloud.calls() == [["python", "-m", "diffenc_jax.significance", "report", "--root=a root"]]


# This machine.

PROCESS = """
if [[ $1 == -c ]]; then exec "$REAL" "$@"; fi
for word; do if [[ $word == --process=* ]]; then me=${word#*=}; fi; done
printf '%s' "$XLA_FLAGS" >"flags$me"
"""


def start_local(place, does, *options, **environment):
    """The launcher over stand-ins for python, which each know which process they are."""
    python = place.stand_in("stand_in_python", PROCESS + does)
    command = ["bash", LAUNCH / "local.sh", *options, "--", *FLAGS]
    place.environment |= {"PYTHON": str(python), "REAL": sys.executable} | environment
    return subprocess.Popen(
        command, cwd=place.folder, env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_local_processes_know_of_each_other(place):
    launcher = start_local(place, "echo I am $me", "--processes=3", "--devices=5", XLA_FLAGS="--xla_a")
    assert launcher.communicate(timeout=60) == ("I am 0\n", "")
    assert launcher.returncode == 0
    calls = sorted(call for call in place.calls() if call[1] != "-c")
    port = calls[0][3].rpartition(":")[2]
    for process, call in enumerate(calls):
        joining = [f"--coordinator=localhost:{port}", "--processes=3", f"--process={process}"]
        assert call[1:] == ["-m", "diffenc_jax.main", *joining, *FLAGS]
        flags = (place.folder / f"flags{process}").read_text()
        assert flags == "--xla_a --xla_force_host_platform_device_count=5"


def test_a_local_process_that_fails_ends_the_others(place):
    launcher = start_local(
        place, "if ((me == 1)); then echo error: no >&2; exit 3; fi; exec sleep 300", "--processes=3"
    )
    _, error = launcher.communicate(timeout=60)
    assert launcher.returncode == 3
    assert error == "error: no\nerror: process 1 ended with exit code 3; the others were ended\n"


def test_bad_input_is_one_line_of_a_local_run_too(place):
    launcher = start_local(place, "echo error: no >&2; exit 2", "--processes=3")
    assert launcher.communicate(timeout=60) == ("", "error: no\n")
    assert launcher.returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_local_processes_are_told_to_save(place, number):
    waits = "trap 'echo saved; exit 143' TERM; touch ready$me; for ((i = 0; i < 300; i++)); do sleep 0.1; done"
    launcher = start_local(place, waits)
    while not all((place.folder / f"ready{process}").exists() for process in (0, 1)):
        time.sleep(0.05)
    launcher.send_signal(number)
    assert launcher.communicate(timeout=60) == ("saved\n", "")
    assert launcher.returncode == 143


def test_local_processes_that_do_not_save_are_ended_by_a_second_signal(place):
    waits = "trap '' TERM; touch ready$me; for ((i = 0; i < 300; i++)); do sleep 0.1; done"
    launcher = start_local(place, waits)
    while not all((place.folder / f"ready{process}").exists() for process in (0, 1)):
        time.sleep(0.05)
    for _ in range(2):
        launcher.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGKILL


TINY = """
from diffenc_jax.config import with_changes
from tests import tiny

def get_config(arm="vdm"):
    return with_changes(tiny.config(arm), {"train.steps": 6, "log.every_steps": 2, "checkpoint.every_steps": 100000})
"""


def start_run(folder, launcher, *flags):
    """A real run of two fake devices a process."""
    (folder / "small.py").write_text(TINY)
    quickly_compiled = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    environment = os.environ | quickly_compiled | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    command = [*launcher, f"--config={folder}/small.py", *flags]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


FITTED = ["--config.loss.depth=4", "--config.loss.times=optimal", "--config.loss.variance_ratio=optimal_pixel"]
ALONE = [sys.executable, "-m", "diffenc_jax.main"]
LOCAL = ["bash", LAUNCH / "local.sh", "--processes=2", "--devices=2", "--"]


def finish(run):
    """What it printed."""
    out, error = run.communicate(timeout=600)
    assert run.returncode == 0, error
    return out


def diffusion_terms(evaluations, name):
    """Nats [passes, images] of the one evaluation whose file is so called."""
    (path,) = evaluations.glob(f"test-6-{name}*.npz")
    return np.load(path)["diffusion"]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    said = finish(start_run(tmp_path, LOCAL, f"--workdir={tmp_path}/two"))
    assert said.count("step 6: test") == 1  # the first process alone speaks
    finish(start_run(tmp_path, ALONE, f"--workdir={tmp_path}/one"))
    two, one = (diffusion_terms(tmp_path / name / "eval", "continuous") for name in ("two", "one"))
    np.testing.assert_allclose(two, one, rtol=0.02)
    assert two.std() > 0.1 * two.mean()  # so that this says something
    for name in ("two", "one"):
        assert len((tmp_path / name / "metrics.jsonl").read_text().splitlines()) == 4
        assert {path.suffix for path in (tmp_path / name / "samples").iterdir()} == {".npz", ".png"}

    # The checkpoint of both, looked at again, so that nothing but the number of processes differs.
    (tmp_path / "two" / "eval").rename(tmp_path / "by two")
    finish(start_run(tmp_path, ALONE, f"--workdir={tmp_path}/two", "--mode=eval"))
    np.testing.assert_allclose(diffusion_terms(tmp_path / "two" / "eval", "continuous"), two, rtol=1e-4)
    fitted = []
    for number, launcher in enumerate((ALONE, LOCAL)):
        finish(start_run(tmp_path, launcher, f"--workdir={tmp_path}/two", "--mode=eval", *FITTED))
        fitted.append(diffusion_terms(tmp_path / "two" / "eval", "depth4"))
        (tmp_path / "two" / "eval").rename(tmp_path / f"fitted {number}")
    np.testing.assert_allclose(*fitted, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("gone", [0, 1])
def test_a_killed_process_ends_the_other_within_a_minute(tmp_path, gone):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    flags = [f"--workdir={tmp_path}/run", "--config.train.steps=1000000", f"--coordinator=localhost:{port}"]
    runs = [start_run(tmp_path, ALONE, *flags, "--processes=2", f"--process={process}") for process in (0, 1)]
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert all(run.poll() is None for run in runs), [run.communicate() for run in runs]
        time.sleep(0.1)
    runs[gone].kill()
    _, error = runs[1 - gone].communicate(timeout=60)
    assert runs[1 - gone].returncode == 1
    ours = "error: another process of this run is gone"
    if gone == 0:  # the coordinator, which JAX watches from a thread of its own: its words may come after ours or first
        assert ours in error or "likely indicates that another task died" in error
    else:
        assert ours in error.splitlines()[-1]


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_save_when_told_and_go_on(tmp_path):
    workdir = tmp_path / "run"
    flags = [f"--workdir={workdir}", "--config.train.steps="]
    run = start_run(tmp_path, LOCAL, flags[0], flags[1] + "1000000")
    while not (workdir / "metrics.jsonl").exists():
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    out, error = run.communicate(timeout=120)
    assert run.returncode == 128 + signal.SIGTERM, error
    step = int(re.search(r"stopped by a signal; step (\d+) is saved", out).group(1))
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == [str(step)]
    out = finish(start_run(tmp_path, LOCAL, flags[0], f"{flags[1]}{step + 2}"))
    assert f"going on from step {step} of " in out
    assert f"step {step + 2}: test" in out
