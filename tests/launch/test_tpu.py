"""The launcher of Cloud TPU slices."""

import shlex
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.launch.stand_ins import CONFIG, FLAGS, KIND, LAUNCH, SLICE, TPU, assert_refused
from tests.processes import wait_until

# What gcsfuse would keep of a bucket that other hosts change.
CACHES = ("stat-cache-max-size-mb", "type-cache-max-size-mb", "kernel-list-cache-ttl-secs")
FILES = ["benchmarks/accelerator.py", "configs/cifar10.py", "diffenc_jax/main.py", "requirements/lock-tpu.txt"]
FILES += ["pyproject.toml", "setup.py", "README.md", "LICENSE"]

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
    assert cloud.run(LAUNCH / "tpu.sh", "create", "--yes", *options, "--spot").returncode == 0
    assert cloud.run(LAUNCH / "tpu.sh", "create", "--yes", *options, "--queued").returncode == 0
    where, kind = ["--zone=a b", "--project=p;q"], ["--accelerator-type=$(t)"]
    made = ["gcloud", "compute", "tpus", "tpu-vm", "create", "slice", *where, *kind, "--version=r'", "--spot"]
    asked = ["gcloud", "compute", "tpus", "queued-resources", "create", "slice", "--node-id=slice", *where, *kind]
    assert cloud.calls() == [made, [*asked, "--runtime-version=r'"]]


def ssh(worker, command):
    where = ["--zone=z", f"--worker={worker}", f"--command={command}"]
    return ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "slice", *where]


@pytest.fixture
def checkout(cloud):
    """A checkout with a small package and pinned requirements."""
    folder = cloud.folder / "checkout"
    shutil.copytree(LAUNCH, folder / "launch")
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_flags_for_gcloud_are_passed_on_as_words(cloud, checkout):
    flags = """--gcloud=  --internal-ips  --labels='a=b c' * $(touch pwned)\t"--d=e  f"  """
    words = ["--internal-ips", "--labels=a=b c", "*", "$(touch", "pwned)", "--d=e  f"]
    given = {"create": ["--yes", *KIND], "delete": ["--yes"], "run": ["--", *FLAGS], "setup": []}
    for action, options in given.items():
        cloud.record.unlink(missing_ok=True)
        assert cloud.run(checkout / "launch" / "tpu.sh", action, *SLICE, flags, *options).returncode == 0
        calls = [call for call in cloud.calls() if call[0] == "gcloud"]
        assert calls
        for call in calls:
            at = call.index("--internal-ips")
            assert call[at : at + len(words)] == words
    assert not (cloud.folder / "pwned").exists()
    assert cloud.run(LAUNCH / "tpu.sh", "stop", *SLICE, "--gcloud= ").returncode == 0
    assert cloud.calls()[-1] == ssh("all", "bash diffenc_jax/launch/tpu_host.sh stop")


def keep_archives(cloud, folder):
    """Make gcloud copy each archive that is sent to the hosts into the folder."""
    folder.mkdir()
    keep = f'number=$(ls {shlex.quote(str(folder))} | wc -l)\ncp "$5" {shlex.quote(str(folder))}/$number'
    cloud.stand_in("gcloud", f"if [[ $4 == scp ]]; then {keep}; fi\n{ANSWERS}")


def unpacked(archive):
    """The content of each file of an archive."""
    with tarfile.open(archive) as files:
        members = [member for member in files if member.isfile()]
        return {member.name: files.extractfile(member).read().decode() for member in members}


def test_setup_takes_the_package_to_all_hosts(cloud, checkout):
    keep_archives(cloud, cloud.folder / "archives")
    (cloud.folder / "of mine/parts").mkdir(parents=True)
    (cloud.folder / "of mine/parts/__init__.py").write_text("parts/__init__.py")
    (cloud.folder / "of mine/fading.py").write_text("mine.py")
    (cloud.folder / "mine.py").symlink_to("of mine/fading.py")
    options = [*SLICE, "--mount=b; c", f"--include={cloud.folder / 'mine.py'}", "--include=of mine/parts/"]
    done = cloud.run(checkout / "launch" / "tpu.sh", "setup", *options, STATES="", STATUSES="")
    assert done.returncode == 0, done.stderr
    copy, install = cloud.calls()
    sent, target, *where = copy[5:]
    assert (target, where) == ("slice:diffenc_jax.tar.gz", ["--zone=z", "--worker=all"])
    assert not Path(sent).exists()
    unpack = "mkdir -p diffenc_jax && tar -xzf diffenc_jax.tar.gz -C diffenc_jax && "
    assert install == ssh("all", unpack + r"bash diffenc_jax/launch/tpu_host.sh setup b\;\ c")
    files = unpacked(cloud.folder / "archives" / "0")
    assert files.pop("launch/tpu_host.sh") == (LAUNCH / "tpu_host.sh").read_text()
    files = {name: text for name, text in files.items() if not name.startswith("launch/")}
    assert files == {name: name for name in (*FILES, "mine.py", "parts/__init__.py")}


def test_output_is_followed_and_fetched_and_the_run_stopped(cloud):
    for action, options in (("tail", ["--worker=2"]), ("stop", []), ("logs", ["--to=fetched here"])):
        assert cloud.run(LAUNCH / "tpu.sh", action, *SLICE, *options).returncode == 0
    host = "bash diffenc_jax/launch/tpu_host.sh"
    fetched = ssh("all", f"{host} log")
    fetched.insert(-1, "--output-directory=fetched here")
    assert cloud.calls() == [ssh("2", f"{host} tail"), ssh("all", f"{host} stop"), fetched]
    assert (cloud.folder / "fetched here").is_dir()


WAITS = "echo hello from $PWD\ntrap 'exit 143' TERM\nfor ((i = 0; i < 300; i++)); do sleep 0.1; done"


@pytest.fixture
def host(place):
    """A host of a slice after setup, whose stand-in for python runs until it is stopped."""
    home = place.folder / "diffenc_jax"
    for folder in ("launch", ".venv/bin"):
        (home / folder).mkdir(parents=True)
    shutil.copy(LAUNCH / "tpu_host.sh", home / "launch")
    place.stand_in("python", WAITS).rename(home / ".venv/bin/python")
    yield place
    place.run(home / "launch/tpu_host.sh", "stop")


def test_what_run_sends_starts_main_on_a_host(cloud, host):
    assert cloud.run(LAUNCH / "tpu.sh", "run", *TPU["run"]).returncode == 0
    (sent,) = cloud.calls()
    assert sent[:-1] == ssh("all", "")[:-1]
    cloud.record.unlink()
    command = sent[-1].removeprefix("--command=")
    assert host.run("-c", command).returncode == 0
    wait_until(host.calls)
    assert host.calls() == [["python", "-m", "diffenc_jax.main", "--distributed", *FLAGS]]
    assert_refused(host.run("-c", command), "a run is active ")


def test_a_hosts_run_is_watched_and_stopped(host):
    def do(*words):
        return host.run("diffenc_jax/launch/tpu_host.sh", *words).stdout

    assert do("status", *FLAGS) == "none\n"
    assert do("log") == ""
    do("stop")  # nothing
    do("start", *FLAGS)
    assert do("status", *FLAGS) == "running\n"
    assert do("status", CONFIG) == "other\n"
    log = host.folder / "diffenc_jax" / ".run" / "log"
    wait_until(lambda: log.exists() and "hello" in log.read_text())
    assert do("log") == f"hello from {host.folder / 'diffenc_jax'}\n"  # where Python finds what --include has sent
    do("stop")
    wait_until(lambda: do("status", *FLAGS) != "none\n")  # until the exit code is written
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
    install = ["uv", "pip", "install", "--quiet", "--python", f"{home}/.venv/bin/python"]
    create, pinned, package = host.calls()
    assert create[:2] == ["uv", "venv"]
    assert pinned == [*install, "--requirements", f"{home}/requirements/lock-tpu.txt"]
    assert package == [*install, "--no-deps", str(home)]
    assert host.run(script, "setup", "b c").returncode == 0
    mount, *options, bucket, folder = host.calls()[-1]
    assert (mount, bucket, folder) == ("gcsfuse", "b c", "/mnt/runs")
    assert {"--implicit-dirs", "--rename-dir-limit=100000", "--metadata-cache-ttl-secs=0"} <= set(options)
    assert {f"--{cache}=0" for cache in CACHES} <= set(options)


def watch(cloud, checkout, states, statuses, *options):
    """The result of watch, and its actions, for given answers to its queries."""
    for name, lines in (("STATES", states), ("STATUSES", statuses)):
        (cloud.folder / name).write_text("".join(line + "\n" for line in lines))
        cloud.environment[name] = str(cloud.folder / name)
    keep_archives(cloud, cloud.folder / "archives")
    cloud.stand_in("sleep", f"echo changed >{shlex.quote(str(checkout / 'requirements' / 'lock-tpu.txt'))}")
    done = cloud.run(checkout / "launch" / "tpu.sh", "watch", *SLICE, *KIND, "--spot", "--yes", *options, "--", *FLAGS)
    calls = [call for call in cloud.calls() if call[0] == "gcloud" and call[4] != "describe"]
    on_hosts = [shlex.split(call[-1].rpartition("tpu_host.sh ")[2]) for call in calls]
    return done, [words if call[4] == "ssh" else [call[4]] for call, words in zip(calls, on_hosts, strict=True)]


STATUS, START = ["status", *FLAGS], ["start", *FLAGS]


def test_watch_resumes_after_a_preemption(cloud, checkout):
    states = ["ABSENT", "PROVISIONING", "ACTIVE", "ACTIVE", "ACTIVE", "SUSPENDING", "SUSPENDED", "ACTIVE", "ACTIVE"]
    done, did = watch(cloud, checkout, states, ["none", "running", "unreachable", "none", "ended 0"])
    assert done.returncode == 0, done.stderr
    begin = [["create"], STATUS, ["scp"], ["setup", ""], ["stop"], START]
    assert did == [*begin, STATUS, STATUS, ["delete"], *begin, STATUS]
    assert [call for call in cloud.calls() if call[0] == "sleep"] == [["sleep", "60"]] * 8
    assert done.stderr.endswith("slice still costs money; launch/tpu.sh delete --queued ends that\n")


def test_watch_sets_every_slice_up_alike(cloud, checkout):
    """The versions and the code of its own start, although the checkout has changed."""
    watch(cloud, checkout, ["ACTIVE", "SUSPENDED", "ACTIVE", "ACTIVE"], ["none", "none", "ended 0"])
    first, second = (unpacked(cloud.folder / "archives" / name) for name in "01")
    assert first == second
    assert first["requirements/lock-tpu.txt"] == "requirements/lock-tpu.txt"
    assert (checkout / "requirements" / "lock-tpu.txt").read_text() == "changed\n"


def test_a_run_that_saved_and_ended_starts_again_without_limit(cloud, checkout):
    done, did = watch(cloud, checkout, ["ACTIVE"] * 4, ["ended 143"] * 3 + ["ended 0"], "--restarts=1")
    assert done.returncode == 0, done.stderr
    assert did.count(START) == 3


HOPELESS = [
    (["FAILED"], [], "error: the request for slice has failed", 0),
    (["ACTIVE"], ["other"], "error: another run is active there; stop it first", 0),
    (["ACTIVE"], ["ended 2"], "error: the run refused its input", 0),
    (["ACTIVE"] * 3, ["ended 1", "running", "ended 1"], "error: the run has failed after 1 restarts", 1),
]


@pytest.mark.parametrize(("states", "statuses", "message", "starts"), HOPELESS)
def test_watch_gives_up(cloud, checkout, states, statuses, message, starts):
    done, did = watch(cloud, checkout, states, statuses, "--restarts=1")
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert did.count(START) == starts
