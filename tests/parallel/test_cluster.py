"""A process of a job of several does not run as if it were alone."""

import http.server
import os
import threading

import jax
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import InputError
from diffenc_jax.parallel import cluster
from tests.refusals import refused

STEP = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "n[1-2]"}
NAMES = ("TPU_", "MEGASCALE_", "SLURM_", "OMPI_")
MANY = [
    ({"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "0"}, "4 hosts of a TPU slice"),
    ({"TPU_PROCESS_ADDRESSES": "a:1,b:1", "TPU_WORKER_HOSTNAMES": "a"}, "2 hosts of a TPU slice"),
    ({"TPU_WORKER_HOSTNAMES": "a,b", "MEGASCALE_NUM_SLICES": "2"}, "4 hosts of 2 TPU slices"),
    ({"MEGASCALE_NUM_SLICES": "3"}, "3 hosts of 3 TPU slices"),
    ({**STEP, "SLURM_NTASKS": "8"}, "8 processes of a SLURM job"),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, "2 processes of an MPI job"),
]
ALONE = [
    {},
    {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"},
    {"TPU_WORKER_HOSTNAMES": "", "MEGASCALE_NUM_SLICES": ""},
    {**STEP, "SLURM_NTASKS": "1"},
    {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8"},  # a shell from salloc
    {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},  # the script of a job
    {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_PROCESS_BOUNDS": "1,1,1", "TPU_VISIBLE_DEVICES": "0"},  # a chip for itself
    {"OMPI_COMM_WORLD_SIZE": "1"},
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


OPTIONS = [
    ([], "this is one of 2 hosts of a TPU slice; add --distributed"),
    (["--no-distributed"], "--config=nothing.py is neither"),  # goes on to the configuration
    (["--coordinator=localhost:1", "--processes=2", "--process=0"], "--config=nothing.py is neither"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
@pytest.mark.parametrize("command", ["train", "eval", "sample"])
def test_the_commands_of_jobs_ask(environment, command, options, message, capsys):
    environment({"TPU_WORKER_HOSTNAMES": "a,b"})
    assert message in refused(main, [command, "--config=nothing.py", *options], capsys)


@pytest.fixture
def metadata(environment, monkeypatch):
    """Google's metadata server: `endpoints` is what it says of the slice, and `asked` what it was asked."""

    class Server(http.server.BaseHTTPRequestHandler):
        endpoints, asked = b"", []

        def do_GET(self):
            self.asked.append((self.path, self.headers["Metadata-Flavor"]))
            self.send_response(200 if self.endpoints else 404)
            self.end_headers()
            self.wfile.write(self.endpoints)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("localhost", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        environment({"GCE_METADATA_IP": f"localhost:{server.server_port}"})
        yield Server
        server.shutdown()
        thread.join()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes this machine one of the given maker with the given devices."""

    def make(product, *devices):
        (tmp_path / "product").write_text(f"{product}\n")
        for device in devices:
            (tmp_path / device).parent.mkdir(exist_ok=True)
            (tmp_path / device).touch()
        monkeypatch.setattr(cluster, "PRODUCT", tmp_path / "product")
        monkeypatch.setattr(cluster, "DEVICES", tmp_path)

    return make


@pytest.mark.parametrize("device", ["accel0", "vfio/0"])
@pytest.mark.parametrize("endpoints", [b"10.0.0.1,10.0.0.2", b"a:8470:10.0.0.1,b:8470:10.0.0.2"])
def test_the_hosts_of_a_slice_of_tpu_vms_are_known_to_the_metadata_server(metadata, machine, device, endpoints):
    machine("Google Compute Engine", device)
    metadata.endpoints = endpoints
    with pytest.raises(InputError, match=r"^this is one of 2 hosts of a TPU slice; "):
        cluster.require_alone()
    metadata.endpoints = b"10.0.0.1"
    cluster.require_alone()
    metadata.endpoints = b""  # 404
    cluster.require_alone()
    path = "/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    assert metadata.asked == [(path, "Google")] * 3
    metadata.asked.clear()


@pytest.mark.parametrize(
    ("product", "devices", "variables"),
    [
        ("Standard PC (Q35)", ["accel0"], {}),  # not Google's
        ("Google Compute Engine", [], {}),  # no TPU
        ("Google Compute Engine", ["vfio/vfio"], {}),
        ("Google Compute Engine", ["accel0"], {"TPU_SKIP_MDS_QUERY": "1"}),
        ("Google Compute Engine", ["accel0"], {"TPU_PROCESS_BOUNDS": "1,1,1"}),
    ],
)
def test_elsewhere_no_metadata_server_is_asked(metadata, machine, environment, product, devices, variables):
    machine(product, *devices)
    environment(variables)
    metadata.endpoints = b"10.0.0.1,10.0.0.2"
    cluster.require_alone()
    assert metadata.asked == []


def test_a_metadata_server_that_does_not_answer_stops_nothing(environment, machine):
    machine("Google Compute Engine", "accel0")
    environment({"GCE_METADATA_IP": "localhost:1"})
    cluster.require_alone()


def test_devices_of_hosts_that_are_not_connected_are_refused(monkeypatch):
    cluster.require_connected()
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(InputError, match=r"those of 4 hosts, which are not connected; add --distributed"):
        cluster.require_connected()
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    cluster.require_connected()
