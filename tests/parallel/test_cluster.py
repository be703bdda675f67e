"""Processes of a job: one of several does not run alone, they wait for each other, and signals are held back."""

import io
import os
import signal
from unittest import mock

import jax
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import InputError, Interrupted
from diffenc_jax.parallel import cluster
from diffenc_jax.parallel.shutdown import Shutdown, shutdown_of_run
from tests.processes import finish, free_port, start
from tests.refusals import refused

STEP = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "n[1-2]"}
NAMES = ("TPU_", "MEGASCALE_", "SLURM_", "OMPI_")
MANY = [
    ({"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "0"}, "4 hosts of a TPU job"),
    ({"TPU_PROCESS_ADDRESSES": "a:1,b:1", "MEGASCALE_NUM_SLICES": "2"}, "4 hosts of a TPU job"),
    ({**STEP, "SLURM_NTASKS": "8"}, "8 processes of a SLURM job"),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, "2 processes of an MPI job"),
]
ALONE = [
    {"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": ""},
    {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},  # the script of a job
    {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_PROCESS_BOUNDS": "1,1,1", "TPU_VISIBLE_DEVICES": "0"},  # a chip for itself
]


@pytest.fixture
def environment():
    """The environment variables without those that tell of a cluster; a test adds its own."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(NAMES)}
    with mock.patch.dict(os.environ, others, clear=True):
        yield os.environ


@pytest.mark.parametrize(("variables", "found"), MANY)
def test_one_of_several_processes_is_refused(environment, variables, found):
    environment.update(variables)
    with pytest.raises(InputError, match=rf"^this is one of {found}; add --distributed to run on all of them"):
        cluster.require_alone()


@pytest.mark.parametrize("variables", ALONE)
def test_a_single_process_is_not(environment, variables):
    environment.update(variables)
    cluster.require_alone()


ASKED = [
    ([], "this is one of 2 hosts of a TPU job; add --distributed"),
    (["--no-distributed"], "--config=nothing.py is no configuration"),  # goes on to the configuration
]


@pytest.mark.parametrize(("options", "message"), ASKED)
@pytest.mark.parametrize("command", ["train", "eval", "sample"])
def test_the_commands_of_jobs_ask(environment, command, options, message, capsys):
    environment.update({"TPU_WORKER_HOSTNAMES": "a,b"})
    assert message in refused(main, [command, "--config=nothing.py", *options], capsys)


def test_the_hosts_of_a_slice_of_tpu_vms_are_known_to_the_metadata_server(environment, tmp_path, monkeypatch):
    """It is asked on machines with TPU chips; one that does not answer stops nothing."""
    answers = map(io.BytesIO, (b"a:8470:10.0.0.1,b:8470:10.0.0.2", b"10.0.0.1"))
    server = mock.Mock(side_effect=answers)
    monkeypatch.setattr(cluster, "DEVICES", tmp_path)
    environment.update({"GCE_METADATA_IP": "localhost:1"})
    with monkeypatch.context() as patch:
        patch.setattr("urllib.request.urlopen", server)
        cluster.require_alone()
        (tmp_path / "accel0").touch()
        with pytest.raises(InputError, match=r"^this is one of 2 hosts of a TPU job; "):
            cluster.require_alone()
        cluster.require_alone()
    url = "http://localhost:1/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    asked = [call.args[0] for call in server.call_args_list]
    assert [(request.full_url, request.headers) for request in asked] == [(url, {"Metadata-flavor": "Google"})] * 2
    cluster.require_alone()


def test_devices_of_hosts_that_are_not_connected_are_refused(monkeypatch):
    cluster.require_connected()
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(InputError, match=r"devices of 4 hosts, which are not connected; add --distributed"):
        cluster.require_connected()
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    cluster.require_connected()


FIRST_ALONE = """
import sys, time
from pathlib import Path
import jax
from diffenc_jax.parallel import hosts

port, process, folder = sys.argv[1:]
jax.distributed.initialize(f"localhost:{port}", 3, int(process))

def act():
    time.sleep(1)
    Path(folder, process).touch()

hosts.first_alone(act)
print([path.name for path in Path(folder).iterdir()])
"""


@pytest.mark.slow
def test_the_others_go_on_when_the_first_host_is_done(tmp_path):
    port = free_port()
    started = [start("-c", FIRST_ALONE, port, number, tmp_path) for number in range(3)]
    assert [finish(process, timeout=120)[0] for process in started] == ["['0']\n"] * 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_held_back_and_reported(number):
    before = signal.getsignal(number)
    with shutdown_of_run() as shutdown:
        assert not shutdown.requested()
        shutdown.check()
        os.kill(os.getpid(), number)
        assert shutdown.requested()
        with pytest.raises(Interrupted) as stopped:
            shutdown.check()
        assert stopped.value.signal == number
    assert signal.getsignal(number) == before


def test_a_second_interrupt_is_not_held_back():
    with Shutdown():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
