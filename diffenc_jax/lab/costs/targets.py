"""Kinds of accelerators: their peak rates, their names in JAX, and those for which `compile-check` compiles.

Peak rates are FLOPs per second in dense bfloat16 products, as the makers publish them. Sources:
  NVIDIA's data sheets of the B200, H200, H100, A100, L4 and RTX A6000, row 'BFLOAT16 Tensor Core' or, for the last,
  'Tensor performance'. All but that of the A100 give the rate with sparsity, which is twice the dense one.
  NVIDIA's Ada white paper for the GeForce RTX 4090, with sums in float32.
  Google's pages on Cloud TPU (cloud.google.com/tpu/docs/v4 and so on), 'Peak compute per chip (bf16)' and 'HBM
  bandwidth per chip'. Clock rates follow from the peak and the number of matrix units of 128 x 128.
Memory, bandwidth, cores, clock rates and L2 caches of cards are those of XLA's descriptions, in openxla/xla
(xla/backends/gpu/target_config/specs), or for the L4 and the RTX 4090, which have none there, of the Ada white paper.
"""

from typing import NamedTuple

GIB = 2**30
JAX_SHARE = 0.75  # of a card's memory, which JAX takes by default; see XLA_PYTHON_CLIENT_MEM_FRACTION


class Card(NamedTuple):
    """Facts about an NVIDIA card that XLA's compiler asks for.

    Attributes:
      capability: compute capability, such as (9, 0).
      cores, lanes: number of streaming multiprocessors, and of float32 units of one.
      clock: GHz.
      l2: bytes of the L2 cache.
      memory: bytes of the card.
    """

    capability: tuple[int, int]
    cores: int
    lanes: int
    clock: float
    l2: int
    memory: int


class Target(NamedTuple):
    """One kind of accelerator. JAX shows a chip as one device or, for tpu7x, as two, which have half of everything.

    Attributes:
      flops: FLOPs per second of a device in bfloat16.
      kinds: names of such devices in JAX, `jax.Device.device_kind`.
      memory: bytes per device that are left to a program; None for those that cannot be compiled for.
      bandwidth: bytes per second that a device reads from or writes to its memory.
      devices: number of devices of a chip.
      clock: cycles per second, by which a compiler's cycles are a time; None if unknown.
      card: for an NVIDIA card, what its compiler asks for.
    """

    flops: float
    kinds: tuple[str, ...]
    memory: int | None = None
    bandwidth: float = 0.0
    devices: int = 1
    clock: float | None = None
    card: Card | None = None


def _gpu(tera: float, kinds: tuple[str, ...], bandwidth: float, *facts: object) -> Target:
    card = Card(*facts)  # type: ignore[arg-type]
    return Target(tera * 1e12, kinds, int(JAX_SHARE * card.memory), bandwidth * 1e9, card=card)


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{maker}{name}" for maker in ("NVIDIA ", "") for name in names)


MIB = 2**20
TARGETS = {
    "b200": _gpu(2250, ("NVIDIA B200",), 7672.32, (10, 0), 148, 128, 1.965, 132644864, 191514411008),
    "h200": _gpu(1979 / 2, ("NVIDIA H200",), 4800, (9, 0), 132, 128, 1.98, 50 * MIB, 151397597184),
    "h100": _gpu(1979 / 2, ("NVIDIA H100 80GB HBM3",), 3352.32, (9, 0), 132, 128, 1.98, 50 * MIB, 84942979072),
    "h100-pcie": _gpu(1513 / 2, ("NVIDIA H100 PCIe",), 2039.04, (9, 0), 114, 128, 1.755, 50 * MIB, 84942979072),
    "h100-nvl": Target(1671e12 / 2, ("NVIDIA H100 NVL",)),
    "a100": _gpu(312, _both("A100-SXM4-80GB", "A100 80GB PCIe"), 2039.04, (8, 0), 108, 64, 1.41, 40 * MIB, 85100068864),
    "a100-40": _gpu(
        312, _both("A100-SXM4-40GB", "A100-PCIE-40GB"), 1555.2, (8, 0), 108, 64, 1.41, 40 * MIB, 42331013120
    ),
    "a6000": _gpu(309.7 / 2, ("NVIDIA RTX A6000",), 768.096, (8, 6), 84, 128, 1.8, 6 * MIB, 51041271808),
    "l4": _gpu(242 / 2, ("NVIDIA L4",), 300, (8, 9), 58, 128, 2.04, 48 * MIB, 23034 * MIB),
    "rtx4090": _gpu(165.2, ("NVIDIA GeForce RTX 4090",), 1008, (8, 9), 128, 128, 2.52, 72 * MIB, 24564 * MIB),
    "v4": Target(275e12, ("TPU v4",), int(30.75 * GIB), 1228e9, clock=1.05e9),
    "v5e": Target(197e12, ("TPU v5 lite", "TPU v5e"), int(15.75 * GIB), 819e9, clock=1.5e9),
    "v5p": Target(459e12, ("TPU v5", "TPU v5p"), int(95.74 * GIB), 2765e9, clock=1.75e9),
    "v6e": Target(918e12, ("TPU v6 lite", "TPU v6e"), int(31.25 * GIB), 1638e9),
    "tpu7x": Target(2307e12 / 2, ("TPU7x",), int(94.75 * GIB), 7380e9 / 2, devices=2),
}


def target_of(device_kind: str) -> Target | None:
    """The kind of accelerator of devices with this `jax.Device.device_kind`; None for others."""
    return next((target for target in TARGETS.values() if device_kind in target.kinds), None)
