"""Peak rates by the names that JAX gives to devices."""

import pytest

from diffenc_jax.lab.studies.compile_check.peaks import PEAKS, peak_of


@pytest.mark.parametrize(
    ("kind", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H200", 989.5),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
        ("TPU v4", 275),
        ("TPU v5 lite", 197),
        ("TPU v5", 459),
        ("TPU v6 lite", 918),
        ("TPU7x", 1153.5),
    ],
)
def test_peak_of_a_device(kind, tera):
    assert peak_of(kind).device_flops == pytest.approx(tera * 1e12)


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA L40S", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "TPU v3"])
def test_other_devices_have_none(kind):
    assert peak_of(kind) is None


def test_a_name_belongs_to_one_chip():
    kinds = [kind for peak in PEAKS.values() for kind in peak.kinds]
    assert len(set(kinds)) == len(kinds)
