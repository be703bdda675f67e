"""Division of this machine's devices among processes that run at the same time."""

import os
from pathlib import Path
from typing import NamedTuple

from diffenc_jax.parallel.cluster import ONE_PROCESS, tpu_chips


class Share(NamedTuple):
    """Devices of one of several processes.

    Attributes:
      environment: variables to add to those of this process.
      cores: CPU cores; None: all that this process may use.
    """

    environment: dict[str, str]
    cores: frozenset[int] | None


def shares(parallel: int) -> list[Share]:
    """One share per process: a GPU, a TPU chip or, on a machine without either, a part of the CPU's cores.

    With fewer devices than processes, several processes share a device.
    """
    if parallel == 1:
        return [Share({}, None)]
    if gpus := _gpus():
        # JAX preallocates three quarters of a GPU's memory, which leaves no room for a second process.
        common = {} if parallel <= len(gpus) else {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        return [Share({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)], **common}, None) for i in range(parallel)]
    if chips := tpu_chips():
        return [Share(_tpu(i % chips), None) for i in range(parallel)]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    # Cores that remain go to the first processes; of more processes than cores, several have the same core.
    return [Share({}, frozenset(cores[i % len(cores) :: parallel]) if cores else None) for i in range(parallel)]


def _gpus() -> list[str]:
    """Names of the usable GPUs, in the form of CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def _tpu(chip: int) -> dict[str, str]:
    """Variables of libtpu for one process per chip."""
    port = str(8476 + chip)
    return {
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
        "TPU_PROCESS_BOUNDS": ONE_PROCESS,
        "TPU_VISIBLE_DEVICES": str(chip),
        "TPU_MESH_CONTROLLER_ADDRESS": f"localhost:{port}",
        "TPU_MESH_CONTROLLER_PORT": port,
    }
