"""The launcher of several processes on this machine."""

import signal
import sys
import time

from tests import processes
from tests.launch.stand_ins import FLAGS, LAUNCH

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
