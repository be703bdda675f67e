"""Other processes of this process's job, as its environment tells of them before JAX has connected them.

`jax.distributed.initialize` connects the processes of a run. Without it, each host of a TPU slice and each process of a
SLURM job would train on its own, or fail at the first checkpoint.
"""

import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from diffenc_jax.core.errors import require

# The machine's maker, on Linux. Other makers' machines have no metadata server to ask.
PRODUCT = Path("/sys/class/dmi/id/product_name")
DEVICES = Path("/dev")
METADATA_SECONDS = 3
ONE_PROCESS = "1,1,1"  # TPU_PROCESS_BOUNDS of a process with chips of its own


def require_alone() -> None:
    """Raise InputError if this is one of several processes of a job, which `--distributed` would connect."""
    job = _tpu_slice(os.environ) or _slurm_job(os.environ) or _mpi_job(os.environ) or _tpu_vm(os.environ)
    require(
        job is None,
        f"this is one of {job}; add --distributed to run on all of them, or --no-distributed to run only this process",
    )


def require_connected() -> None:
    """Raise InputError if JAX sees the devices of other hosts, to which it is not connected."""
    import jax

    count = jax.process_count()
    require(
        count == 1 or jax.distributed.is_initialized(),
        f"the devices are those of {count} hosts, which are not connected; add --distributed",
    )


def tpu_chips() -> int:
    """Number of TPU chips of this machine."""
    return len([*DEVICES.glob("accel[0-9]*"), *DEVICES.glob("vfio/[0-9]*")])


def _tpu_slice(environment: Mapping[str, str]) -> str | None:
    """Hosts of TPU slices on GKE."""
    if environment.get("TPU_PROCESS_BOUNDS") == ONE_PROCESS:
        return None
    names = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES") or "localhost"
    hosts, slices = len(names.split(",")), _count(environment, "MEGASCALE_NUM_SLICES")
    if hosts * slices == 1:
        return None
    return f"{hosts * slices} hosts of " + ("a TPU slice" if slices == 1 else f"{slices} TPU slices")


def _slurm_job(environment: Mapping[str, str]) -> str | None:
    """Processes that srun has started. A job's script and interactive shell know their number, but are none of them."""
    count = _count(environment, "SLURM_NTASKS")
    started = "SLURM_STEP_NODELIST" in environment and "SLURM_PROCID" in environment
    return f"{count} processes of a SLURM job" if count > 1 and started else None


def _mpi_job(environment: Mapping[str, str]) -> str | None:
    """Processes that Open MPI has started."""
    count = _count(environment, "OMPI_COMM_WORLD_SIZE")
    return f"{count} processes of an MPI job" if count > 1 else None


def _tpu_vm(environment: Mapping[str, str]) -> str | None:
    """Hosts of a slice of Cloud TPU VMs, by Google's metadata server, which is asked on TPU VMs only."""
    is_single = "TPU_SKIP_MDS_QUERY" in environment or environment.get("TPU_PROCESS_BOUNDS") == ONE_PROCESS
    if is_single or not _is_tpu_vm():
        return None
    server = environment.get("GCE_METADATA_IP", "metadata.google.internal")
    url = f"http://{server}/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    try:
        request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
        with urllib.request.urlopen(request, timeout=METADATA_SECONDS) as answer:
            hosts = len(answer.read().decode().split(","))
    except (OSError, ValueError):  # no slice, or a server that does not answer
        return None
    return f"{hosts} hosts of a TPU slice" if hosts > 1 else None


def _is_tpu_vm() -> bool:
    """Whether this is a machine of Google's with TPU chips."""
    try:
        if not PRODUCT.read_text().startswith("Google"):
            return False
    except OSError:
        return False
    return tpu_chips() > 0


def _count(environment: Mapping[str, str], name: str) -> int:
    """The number in a variable; 1 if it is missing or no number."""
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else 1
