"""TPU slices by name: devices that the TPU compiler compiles for without a TPU.

The compiler is that of libtpu, installed by `pip install 'diffenc_jax[tpu]'`.
"""

import importlib.util
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from diffenc_jax.core.errors import InputError, first_line, lookup
from diffenc_jax.lab.costs.targets import TARGETS, Target

# Describes an absent machine to the compiler, and lets several processes compile at once, since none holds a TPU.
ENVIRONMENT = {
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


class Slices(NamedTuple):
    """One slice or several: the kind of chip, and devices for which programs can be compiled but not run."""

    target: Target
    devices: Sequence[jax.Device]

    @property
    def hosts(self) -> int:
        return len({device.process_index for device in self.devices})

    @property
    def chips(self) -> int:
        return len(self.devices) // self.target.devices


def describe_slices(topology: str, count: int = 1) -> Slices:
    """`count` slices with a name such as v5e:4x4; raises InputError if there is none, or no compiler for it."""
    kind, _, shape = topology.partition(":")
    target = lookup("kind of TPU", kind, {name: target for name, target in TARGETS.items() if target.memory})
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("the TPU compiler is not installed; run pip install 'diffenc_jax[tpu]'")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    options: dict[str, Any] = {}
    if kind == "v4":  # the two cores of a chip are one device, as JAX shows them on a TPU
        options["chip_config_name"] = "megacore"
    if shape == "1x1":
        options["chips_per_host_bounds"] = (1, 1, 1)
    if count > 1:
        options["num_slices"] = count
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    except Exception as error:
        raise InputError(f"the TPU compiler does not know {topology}: {first_line(error)}") from error
    return Slices(target, described.devices)
