"""The processes of a job, counted in the environment before JAX connects them.

`jax.distributed.initialize` connects the processes of a run. Without it, each host of a TPU slice and each process of a
SLURM job would train on its own, or fail at the first checkpoint.
"""

import os
import urllib.request
from pathlib import Path

from diffenc_jax.core.errors import InputError, require

DEVICES = Path("/dev")
METADATA_SECONDS = 3
ONE_PROCESS = "1,1,1"  # TPU_PROCESS_BOUNDS of a process with chips of its own


def require_alone() -> None:
    """Raise InputError if this is one of several processes of a job, which `--distributed` would connect."""
    # SLURM sets the number of processes also in a job's script and in its shell, which srun did not start.
    by_srun = {"SLURM_STEP_NODELIST", "SLURM_PROCID"} <= os.environ.keys()
    counts = {
        "hosts of a TPU job": _tpu_hosts(),
        "processes of a SLURM job": _count("SLURM_NTASKS") if by_srun else 1,
        "processes of an MPI job": _count("OMPI_COMM_WORLD_SIZE"),
    }
    for what, count in counts.items():
        advice = "add --distributed to run on all of them, or --no-distributed to run only this process"
        require(count <= 1, f"this is one of {count} {what}; {advice}")


def require_connected() -> None:
    """Raise InputError if JAX sees the devices of other hosts, to which it is not connected."""
    import jax

    count = jax.process_count()
    if count > 1 and not jax.distributed.is_initialized():
        raise InputError(f"JAX sees the devices of {count} hosts, which are not connected; add --distributed")


def tpu_chips() -> int:
    """Number of TPU chips of this machine."""
    return len([*DEVICES.glob("accel[0-9]*"), *DEVICES.glob("vfio/[0-9]*")])


def _tpu_hosts() -> int:
    """Number of hosts of a job on TPUs: by variables on GKE, by Google's metadata server on Cloud TPU VMs."""
    if os.environ.get("TPU_PROCESS_BOUNDS") == ONE_PROCESS:
        return 1
    names = os.environ.get("TPU_PROCESS_ADDRESSES") or os.environ.get("TPU_WORKER_HOSTNAMES") or "localhost"
    hosts = len(names.split(",")) * _count("MEGASCALE_NUM_SLICES")
    if hosts > 1 or "TPU_SKIP_MDS_QUERY" in os.environ or not tpu_chips():
        return hosts
    server = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    url = f"http://{server}/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    try:
        request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
        with urllib.request.urlopen(request, timeout=METADATA_SECONDS) as answer:
            return len(answer.read().decode().split(","))
    except (OSError, ValueError):  # no slice, or a server that does not answer
        return 1


def _count(name: str) -> int:
    """The number in an environment variable; 1 if the variable is missing or not a number."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 1
