"""TPU slices that are not here: their chips, and devices that the real TPU compiler compiles for.

The compiler is libtpu's, which `pip install 'diffenc_jax[tpu]'` brings; it needs no TPU.
"""

import importlib.util
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax

from diffenc_jax.config import require
from diffenc_jax.errors import InputError, first_line, lookup

# Says where the compiler is, since nothing here tells it; and lets several compile at a time, since none holds a TPU.
ENVIRONMENT = {
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
FLAT = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
SMALL_BLOCKS = ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4))
GIB = 2**30
EDGE = 4  # of the cubes that larger blocks are made of


class Chip(NamedTuple):
    """One kind of chip, as Google publishes it.

    Attributes:
      memory: bytes of it that the compiler leaves to a program.
      flops: a second, in bfloat16.
      bandwidth: of its memory, bytes a second.
      dimensions: of its slices.
      most: chips in one slice.
    """

    memory: int
    flops: float
    bandwidth: float
    dimensions: int
    most: int


CHIPS = {
    "v4": Chip(int(30.75 * GIB), 275e12, 1.228e12, 3, 4096),
    "v5e": Chip(int(15.75 * GIB), 197e12, 0.819e12, 2, 256),
    "v5p": Chip(int(95.74 * GIB), 459e12, 2.765e12, 3, 6144),
    "v6e": Chip(int(31.25 * GIB), 918e12, 1.640e12, 2, 256),
}


class Slice(NamedTuple):
    """A slice's chip, and a device for each of its chips, which can be compiled for and nothing else."""

    name: str
    chip: Chip
    devices: Sequence[jax.Device]

    @property
    def hosts(self) -> int:
        return len({device.process_index for device in self.devices})


def describe(topology: str) -> Slice:
    """The slice that is called, say, v5e:4x4.

    Raises:
      InputError: there is no such slice, or no compiler for it.
    """
    kind, shape = parse(topology)
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("the TPU compiler is not installed; run pip install '.[tpu]'")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    options = {}
    if kind == "v4":  # its chips' two cores work as one device, as JAX has them on the machine itself
        options["chip_config_name"] = "megacore"
    if shape == (1, 1):
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    except Exception as error:
        raise InputError(f"the TPU compiler does not know {topology}: {first_line(error)}") from error
    return Slice(topology, CHIPS[kind], found.devices)


def parse(topology: str) -> tuple[str, tuple[int, ...]]:
    """'v5e:4x4' -> ('v5e', (4, 4)); raises InputError where there is no such slice."""
    kind, _, text = topology.partition(":")
    chip = lookup("kind of TPU", kind, CHIPS)
    shape = tuple(map(int, text.split("x"))) if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text) else ()
    if chip.dimensions == 2:
        exists, known = shape in FLAT, _listed(FLAT)
    else:
        exists, known = _is_block(shape, chip.most), _listed(SMALL_BLOCKS)
        known += f", and AxBxC of multiples of {EDGE}, A <= B <= C, in all at most {chip.most} chips"
    require(exists, f"there is no slice {topology!r}; {kind}:SHAPE has the shapes {known}")
    return kind, shape


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def _is_block(shape: tuple[int, ...], most: int) -> bool:
    if shape in SMALL_BLOCKS:
        return True
    if len(shape) != 3 or any(edge % EDGE for edge in shape):
        return False
    return shape == tuple(sorted(shape)) and shape[0] * shape[1] * shape[2] <= most
