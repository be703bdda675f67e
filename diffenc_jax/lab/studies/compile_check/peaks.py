"""Peak rates of chips: floating-point operations per second in dense bfloat16 products, as their makers publish them.

Sources:
  NVIDIA's data sheets of the H100, H200, A100 and L4 Tensor Core GPUs, row 'BFLOAT16 Tensor Core'. Those of the H100,
  H200 and L4 give the rate with sparsity, which is twice the dense one.
  Google's pages on Cloud TPU (cloud.google.com/tpu/docs/v4 and so on), 'Peak compute per chip (bf16)'.
"""

from typing import NamedTuple


class Peak(NamedTuple):
    """Peak rate of a kind of chip.

    Attributes:
      flops: FLOPs per second of a chip in bfloat16.
      kinds: names of such devices in JAX, `jax.Device.device_kind`.
      devices: number of devices as which JAX shows a chip.
    """

    flops: float
    kinds: tuple[str, ...]
    devices: int = 1

    @property
    def device_flops(self) -> float:
        """FLOPs per second of a device in bfloat16."""
        return self.flops / self.devices


PEAKS = {
    "H200": Peak(1979e12 / 2, ("NVIDIA H200",)),
    "H100": Peak(1979e12 / 2, ("NVIDIA H100 80GB HBM3",)),
    "H100 PCIe": Peak(1513e12 / 2, ("NVIDIA H100 PCIe",)),
    "H100 NVL": Peak(1671e12 / 2, ("NVIDIA H100 NVL",)),
    "A100": Peak(
        312e12,
        (
            *("NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-80GB", "NVIDIA A100-PCIE-40GB", "NVIDIA A100 80GB PCIe"),
            *("A100-SXM4-40GB", "A100-PCIE-40GB"),
        ),
    ),
    "L4": Peak(242e12 / 2, ("NVIDIA L4",)),
    "v4": Peak(275e12, ("TPU v4",)),
    "v5e": Peak(197e12, ("TPU v5 lite", "TPU v5e")),
    "v5p": Peak(459e12, ("TPU v5", "TPU v5p")),
    "v6e": Peak(918e12, ("TPU v6 lite", "TPU v6e")),
    "tpu7x": Peak(2307e12, ("TPU7x",), devices=2),
}


def peak_of(device_kind: str) -> Peak | None:
    """The peak rate of devices with this `jax.Device.device_kind`; None for others."""
    return next((peak for peak in PEAKS.values() if device_kind in peak.kinds), None)
