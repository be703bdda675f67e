"""Kinds of accelerators (targets.toml), and TPU slices and GPU hosts by name: absent devices for which XLA compiles.

The compilers are those of libtpu and of JAX's CUDA plugin, installed by `pip install 'diffenc_jax[tpu]'` or
'diffenc_jax[cuda]'.
"""

import importlib.util
import os
import re
import tomllib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh

from diffenc_jax.core.errors import lookup, refusing, require

# Describes an absent machine to the compiler, and lets several processes compile at once, since none holds a TPU.
ENVIRONMENT = {
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# Share of a card's memory that JAX takes by default; see XLA_PYTHON_CLIENT_MEM_FRACTION.
JAX_SHARE = 0.75
# Bytes of a card's shared memory that no block of threads can have.
RESERVED = 1024


@dataclass(frozen=True)
class Target:
    """One kind of accelerator. JAX shows a chip as one device or, for tpu7x, as two, each with half of its resources.

    Attributes:
      kinds: names of such devices in JAX, `jax.Device.device_kind`.
      flops: FLOPs per second of a device in bfloat16.
      bandwidth: bytes per second that a device reads from or writes to its memory.
      links: bytes per second that a device can send to others, on all its links; 0 if unknown.
      memory: bytes of a card, or bytes of a TPU's device that are left to a program; 0 if it cannot be compiled for.
      clock: cycles per second; 0 if unknown.
      devices: number of devices of a chip.
      capability: compute capability of an NVIDIA card, such as [9, 0]; empty for TPUs.
      cores, lanes: number of a card's streaming multiprocessors, and of float32 units of one.
      l2: bytes of a card's L2 cache.
      shared, threads: of a streaming multiprocessor: bytes of shared memory, and number of threads.
    """

    kinds: list[str]
    flops: float
    bandwidth: float = 0
    links: float = 0
    memory: float = 0
    clock: float = 0
    devices: int = 1
    capability: Sequence[int] = ()
    cores: int = 0
    lanes: int = 0
    l2: int = 0
    shared: int = 0
    threads: int = 0

    @property
    def available(self) -> int:
        """Bytes per device that are left to a program."""
        return int(self.memory * (JAX_SHARE if self.capability else 1))


TARGETS = {
    name: Target(**facts) for name, facts in tomllib.loads(Path(__file__).with_name("targets.toml").read_text()).items()
}


def target_of(device_kind: str) -> Target | None:
    """The kind of accelerator of devices with this `jax.Device.device_kind`; None for others."""
    return next((target for target in TARGETS.values() if device_kind in target.kinds), None)


def describe(topology: str, slices: int = 1) -> tuple[Target, Sequence[jax.Device]]:
    """TPU slices by a name such as v5e:4x4, or GPUs by a name such as h100:8 or, on two hosts, h100:2x8.

    Returns the kind of device, and devices for which programs can be compiled but not run.

    Raises InputError if there are none, or no compiler for them.
    """
    topology = topology.lower()
    kind, _, shape = topology.partition(":")
    target = lookup("kind of accelerator", kind, {name: target for name, target in TARGETS.items() if target.memory})
    options = _gpu_options(target, kind, shape, slices) if target.capability else _tpu_options(kind, shape, slices)
    from jax.experimental import topologies

    with refusing(f"the compiler for {kind} does not know {topology}"):
        return target, topologies.get_topology_desc(**{"topology_name": topology} | options).devices


def _tpu_options(kind: str, shape: str, slices: int) -> dict[str, Any]:
    installed = importlib.util.find_spec("libtpu") is not None
    require(installed, "the TPU compiler is not installed; run pip install 'diffenc_jax[tpu]'")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"platform": "tpu"}
    if kind == "v4":  # the two cores of a chip are one device, as JAX shows them on a TPU
        options["chip_config_name"] = "megacore"
    if shape == "1x1":
        options["chips_per_host_bounds"] = (1, 1, 1)
    if slices > 1:
        options["num_slices"] = slices
    return options


def _gpu_options(target: Target, kind: str, shape: str, slices: int) -> dict[str, Any]:
    hosts = f"{kind}:2x8 for two hosts with 8 cards each"
    require(slices == 1, f"--slices is for TPUs; write {hosts}")
    known = re.fullmatch(r"([1-9]\d*x)?[1-9]\d*", shape) is not None
    require(known, f"no cards are named {kind}:{shape}; write {kind}:8, or {hosts}")
    installed = any(plugin.name.startswith("xla_cuda") for plugin in entry_points(group="jax_plugins"))
    require(installed, "the GPU compiler is not installed; run pip install 'diffenc_jax[cuda]'")
    # From Hopper on, kernels may use what only their generation has.
    features = "ACCELERATED_FEATURES" if tuple(target.capability) >= (9, 0) else "NONE"
    others = {"ghz": target.clock / 1e9, "optin": target.shared - RESERVED, "features": features}
    card = Path(__file__).with_name("card.textproto").read_text().format(target, **others)
    return {"platform": "cuda", "target_config": card, "topology": f"1x{shape}" if "x" in shape else f"1x1x{shape}"}


def lowering(mesh: Mesh) -> AbstractContextManager[Any]:
    """Context in which programs are lowered for a mesh: it gives Pallas's kernels the kind of the absent card."""
    kind = mesh.devices.flat[0].device_kind
    target = target_of(kind)
    if target is None or not target.capability:
        return nullcontext()
    from jax._src.mesh import AbstractDevice  # jax.sharding has it from JAX 0.12 on

    device, shape = AbstractDevice(kind, target.cores, "gpu"), (tuple(mesh.shape.values()), tuple(mesh.shape))
    return jax.sharding.use_abstract_mesh(AbstractMesh(*shape, mesh.axis_types, abstract_device=device))
