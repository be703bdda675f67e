"""Kinds of accelerators: peak rates, names in JAX, and the properties that their compilers need; see targets.toml."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

JAX_SHARE = 0.75  # of a card's memory, which JAX takes by default; see XLA_PYTHON_CLIENT_MEM_FRACTION


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
