"""How processes that run at the same time share this machine's devices."""

import os
from pathlib import Path
from typing import NamedTuple


class Share(NamedTuple):
    """What one of several processes may use.

    Attributes:
      environment: variables to add to its own.
      cores: CPU cores; None: all that this process may use.
    """

    environment: dict[str, str]
    cores: frozenset[int] | None


def shares(parallel: int) -> list[Share]:
    """One for each of `parallel` processes: a GPU, a TPU chip or, on a machine without, a part of the CPU's cores.

    Where there are fewer devices than processes, several processes have the same one.
    """
    if parallel == 1:
        return [Share({}, None)]
    if gpus := _gpus():
        return [Share(_gpu(gpus[i % len(gpus)], alone=parallel <= len(gpus)), None) for i in range(parallel)]
    if chips := _tpu_chips():
        return [Share(_tpu(i % chips), None) for i in range(parallel)]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return [Share({}, _part(cores, i, parallel)) for i in range(parallel)]


def _gpus() -> list[str]:
    """Names of the GPUs that may be used, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def _gpu(name: str, alone: bool) -> dict[str, str]:
    # JAX takes three quarters of a GPU's memory at once, which leaves no room for a second process.
    return {"CUDA_VISIBLE_DEVICES": name} | ({} if alone else {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"})


def _tpu_chips() -> int:
    return len([*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")])


def _tpu(chip: int) -> dict[str, str]:
    """libtpu's variables for a process of its own on one chip."""
    port = str(8476 + chip)
    return {
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
        "TPU_PROCESS_BOUNDS": "1,1,1",
        "TPU_VISIBLE_DEVICES": str(chip),
        "TPU_MESH_CONTROLLER_ADDRESS": f"localhost:{port}",
        "TPU_MESH_CONTROLLER_PORT": port,
    }


def _part(cores: list[int], number: int, parallel: int) -> frozenset[int] | None:
    """The cores of process `number` of `parallel`; those left over go to the first ones."""
    if not cores:
        return None
    if len(cores) < parallel:
        return frozenset({cores[number % len(cores)]})
    return frozenset(cores[number::parallel])
