"""TPU slices by name: their chips, and devices that the TPU compiler compiles for without a TPU.

The compiler is that of libtpu, installed by `pip install 'diffenc_jax[tpu]'`.
"""

import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from diffenc_jax.core.errors import InputError, first_line, lookup, require
from diffenc_jax.lab.studies.compile_check.peaks import PEAKS

# Describes an absent machine to the compiler, and lets several processes compile at once, since none holds a TPU.
ENVIRONMENT = {
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
FLAT = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
SMALL_BLOCKS = ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))
GIB = 2**30
EDGE = 4  # larger blocks consist of cubes with this edge


class Chip(NamedTuple):
    """One kind of chip, as published by Google.

    JAX shows a chip as one device or, for tpu7x, as two, which have half of its memory, FLOPs and bandwidth each.

    Attributes:
      memory: bytes of memory that the compiler leaves to a program, per device.
      flops: FLOPs per second in bfloat16, per device.
      bandwidth: bytes per second of the memory, per device.
      dimensions: number of dimensions of a slice.
      most: largest number of chips in one slice.
      devices: number of devices of a chip.
    """

    memory: int
    flops: float
    bandwidth: float
    dimensions: int
    most: int
    devices: int = 1


CHIPS = {
    "v4": Chip(int(30.75 * GIB), PEAKS["v4"].device_flops, 1.228e12, 3, 4096),
    "v5e": Chip(int(15.75 * GIB), PEAKS["v5e"].device_flops, 0.819e12, 2, 256),
    "v5p": Chip(int(95.74 * GIB), PEAKS["v5p"].device_flops, 2.765e12, 3, 6144),
    "v6e": Chip(int(31.25 * GIB), PEAKS["v6e"].device_flops, 1.640e12, 2, 256),
    "tpu7x": Chip(int(94.75 * GIB), PEAKS["tpu7x"].device_flops, 7.38e12 / 2, 3, 9216, PEAKS["tpu7x"].devices),
}
OTHER_NAMES = {"v7x": "tpu7x"}


class Slices(NamedTuple):
    """One slice or several: the kind of chip, and devices for which programs can be compiled but not run."""

    chip: Chip
    devices: Sequence[jax.Device]

    @property
    def hosts(self) -> int:
        return len({device.process_index for device in self.devices})

    @property
    def chips(self) -> int:
        return len(self.devices) // self.chip.devices


def describe_slices(topology: str, count: int = 1) -> Slices:
    """`count` slices with a name such as v5e:4x4; raises InputError if there is none, or no compiler for it."""
    kind, shape = parse_topology(topology)
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("the TPU compiler is not installed; run pip install 'diffenc_jax[tpu]'")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    options: dict[str, Any] = {}
    if kind == "v4":  # the two cores of a chip are one device, as JAX shows them on a TPU
        options["chip_config_name"] = "megacore"
    if shape == (1, 1):
        options["chips_per_host_bounds"] = (1, 1, 1)
    if count > 1:
        options["num_slices"] = count
    name = f"{kind}:{'x'.join(map(str, shape))}"
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except Exception as error:
        raise InputError(f"the TPU compiler does not know {topology}: {first_line(error)}") from error
    return Slices(CHIPS[kind], described.devices)


def parse_topology(topology: str) -> tuple[str, tuple[int, ...]]:
    """'v5e:4x4' -> ('v5e', (4, 4)); raises InputError if there is no such slice."""
    kind, _, text = topology.partition(":")
    kind = OTHER_NAMES.get(kind, kind)
    chip = lookup("kind of TPU", kind, CHIPS)
    shape = tuple(map(int, text.split("x"))) if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text) else ()
    listed = FLAT if chip.dimensions == 2 else SMALL_BLOCKS
    known, exists = ", ".join("x".join(map(str, one)) for one in listed), shape in listed
    if chip.dimensions == 3:
        known += f", and AxBxC of multiples of {EDGE}, A <= B <= C, with at most {chip.most} chips"
        cubes = len(shape) == 3 and all(edge % EDGE == 0 for edge in shape)
        exists = exists or (cubes and list(shape) == sorted(shape) and math.prod(shape) <= chip.most)
    require(exists, f"there is no slice {topology!r}; {kind}:SHAPE has the shapes {known}")
    return kind, shape
