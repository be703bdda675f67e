"""A process of a job of several does not run as if it were alone."""

import io
import os

import jax
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import InputError
from diffenc_jax.parallel import cluster
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
def environment(monkeypatch):
    """Sets variables, of which no other that tells of a cluster is set."""
    for name in os.environ:
        if name.startswith(NAMES):
            monkeypatch.delenv(name)

    def set_all(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.mark.parametrize(("variables", "found"), MANY)
def test_one_of_several_processes_is_refused(environment, variables, found):
    environment(variables)
    with pytest.raises(InputError, match=rf"^this is one of {found}; add --distributed to run on all of them"):
        cluster.require_alone()


@pytest.mark.parametrize("variables", ALONE)
def test_a_single_process_is_not(environment, variables):
    environment(variables)
    cluster.require_alone()


ASKED = [
    ([], "this is one of 2 hosts of a TPU job; add --distributed"),
    (["--no-distributed"], "--config=nothing.py is no configuration"),  # goes on to the configuration
]


@pytest.mark.parametrize(("options", "message"), ASKED)
@pytest.mark.parametrize("command", ["train", "eval", "sample"])
def test_the_commands_of_jobs_ask(environment, command, options, message, capsys):
    environment({"TPU_WORKER_HOSTNAMES": "a,b"})
    assert message in refused(main, [command, "--config=nothing.py", *options], capsys)


def test_the_hosts_of_a_slice_of_tpu_vms_are_known_to_the_metadata_server(environment, tmp_path, monkeypatch):
    """It is asked on machines with TPU chips; one that does not answer stops nothing."""
    asked = []

    def answer(request, timeout):
        asked.append((request.full_url, request.headers))
        return io.BytesIO(b"a:8470:10.0.0.1,b:8470:10.0.0.2" if len(asked) == 1 else b"10.0.0.1")

    monkeypatch.setattr(cluster, "DEVICES", tmp_path)
    environment({"GCE_METADATA_IP": "localhost:1"})
    with monkeypatch.context() as patch:
        patch.setattr("urllib.request.urlopen", answer)
        cluster.require_alone()
        (tmp_path / "accel0").touch()
        with pytest.raises(InputError, match=r"^this is one of 2 hosts of a TPU job; "):
            cluster.require_alone()
        cluster.require_alone()
    url = "http://localhost:1/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    assert asked == [(url, {"Metadata-flavor": "Google"})] * 2
    cluster.require_alone()


def test_devices_of_hosts_that_are_not_connected_are_refused(monkeypatch):
    cluster.require_connected()
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(InputError, match=r"devices of 4 hosts, which are not connected; add --distributed"):
        cluster.require_connected()
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    cluster.require_connected()
