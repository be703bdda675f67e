"""The launcher of Cloud TPU slices."""

import shlex
import subprocess
import time
from pathlib import Path

import pytest

from tests.launch.stand_ins import CONFIG, FLAGS, KIND, LAUNCH, SLICE, TPU, assert_refused

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
    wanted = {"configs/cifar10.py", "diffenc_jax/main.py", "launch/tpu_host.sh"}
    wanted |= {"pyproject.toml", "setup.py", "README.md"}
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
    """A host of a slice after setup, whose stand-in for python runs until it is stopped."""
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
    assert_refused(on_host(host, command), "a run is active ")


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
    while do("status", *FLAGS) == "none\n":  # until the exit code is written
        time.sleep(0.05)
    assert do("status", *FLAGS) == "ended 143\n"
    assert do("status", CONFIG) == "none\n"  # the status of another run is unknown
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
    """The result of watch, and its actions, for given answers to its queries."""
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


def test_watch_resumes_after_a_preemption(cloud):
    states = ["ABSENT", "PROVISIONING", "ACTIVE", "ACTIVE", "ACTIVE", "SUSPENDING", "SUSPENDED", "ACTIVE", "ACTIVE"]
    done, did = watch(cloud, states, ["none", "running", "unreachable", "none", "ended 0"])
    assert done.returncode == 0, done.stderr
    start = next(verb for verb in did if verb.startswith("start"))
    assert shlex.split(start) == ["start", *FLAGS]
    begin = ["status", "scp", "setup ''", "stop", start]
    assert did == ["create", *begin, "status", "status", "delete", "create", *begin, "status"]
    assert [call for call in cloud.calls() if call[0] == "sleep"] == [["sleep", "60"]] * 8


def test_watch_requests_the_same_slice_again(cloud):
    watch(cloud, ["ABSENT", "SUSPENDED", "FAILED"], [])
    first, second = (call for call in cloud.calls() if "create" in call)
    asked = ["queued-resources", "create", "slice", "--node-id=slice", "--zone=z", "--accelerator-type=v5litepod-16"]
    assert first == second == ["gcloud", "compute", "tpus", *asked, "--runtime-version=v2-alpha", "--spot"]


@pytest.mark.parametrize(
    ("states", "statuses", "message", "starts"),
    [
        (["FAILED"], [], "error: the request for slice has failed", 0),
        (["ACTIVE"], ["other"], "error: another run is active there; stop it first", 0),
        (["ACTIVE"], ["ended 2"], "error: the run refused its input", 0),
        (["ACTIVE"] * 3, ["ended 1", "running", "ended 1"], "error: the run has failed after 1 restarts", 1),
    ],
)
def test_watch_gives_up(cloud, states, statuses, message, starts):
    done, did = watch(cloud, states, statuses, "--restarts=1")
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert sum(verb.startswith("start ") for verb in did) == starts
