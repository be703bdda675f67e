"""Kinds of chips: their peak rates, their names in JAX, and the memory of those that `compile-check` compiles for.

Peak rates are FLOPs per second in dense bfloat16 products, as the makers publish them. Sources:
  NVIDIA's data sheets of the H100, H200, A100 and L4 Tensor Core GPUs, row 'BFLOAT16 Tensor Core'. Those of the H100,
  H200 and L4 give the rate with sparsity, which is twice the dense one.
  Google's pages on Cloud TPU (cloud.google.com/tpu/docs/v4 and so on), 'Peak compute per chip (bf16)'.
"""

from typing import NamedTuple

GIB = 2**30


class Target(NamedTuple):
    """One kind of chip. JAX shows a chip as one device or, for tpu7x, as two, which have half of everything.

    Attributes:
      flops: FLOPs per second of a device in bfloat16.
      kinds: names of such devices in JAX, `jax.Device.device_kind`.
      memory: bytes per device that the compiler leaves to a program; None for chips that cannot be compiled for.
      devices: number of devices of a chip.
    """

    flops: float
    kinds: tuple[str, ...]
    memory: int | None = None
    devices: int = 1


A100 = ("A100-SXM4-40GB", "A100-SXM4-80GB", "A100-PCIE-40GB", "A100 80GB PCIe")
TARGETS = {
    "H200": Target(1979e12 / 2, ("NVIDIA H200",)),
    "H100": Target(1979e12 / 2, ("NVIDIA H100 80GB HBM3",)),
    "H100 PCIe": Target(1513e12 / 2, ("NVIDIA H100 PCIe",)),
    "H100 NVL": Target(1671e12 / 2, ("NVIDIA H100 NVL",)),
    "A100": Target(312e12, (*A100, *(f"NVIDIA {name}" for name in A100))),
    "L4": Target(242e12 / 2, ("NVIDIA L4",)),
    "v4": Target(275e12, ("TPU v4",), int(30.75 * GIB)),
    "v5e": Target(197e12, ("TPU v5 lite", "TPU v5e"), int(15.75 * GIB)),
    "v5p": Target(459e12, ("TPU v5", "TPU v5p"), int(95.74 * GIB)),
    "v6e": Target(918e12, ("TPU v6 lite", "TPU v6e"), int(31.25 * GIB)),
    "tpu7x": Target(2307e12 / 2, ("TPU7x",), int(94.75 * GIB), devices=2),
}


def target_of(device_kind: str) -> Target | None:
    """The kind of chip of devices with this `jax.Device.device_kind`; None for others."""
    return next((target for target in TARGETS.values() if device_kind in target.kinds), None)
