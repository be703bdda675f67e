"""Slices by name: existing ones, as the compiler knows them, and others."""

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.costs import tpu
from diffenc_jax.lab.costs.targets import TARGETS, target_of
from diffenc_jax.parallel.sharding import make_mesh, num_slices
from tests.lab.costs import tpu_compiler


@pytest.mark.slow  # it has to be installed
@pytest.mark.parametrize(
    ("topology", "chips", "hosts"),
    [("v4:2x2x2", 8, 2), ("v5e:1x1", 1, 1), ("v5p:4x4x8", 128, 32), ("v6e:8x8", 64, 16), ("tpu7x:2x2x2", 8, 2)],
)
def test_a_slice_has_a_device_for_each_chip(topology, chips, hosts, monkeypatch):
    monkeypatch.syspath_prepend(tpu_compiler.path())
    described = tpu.describe_slices(topology)
    assert (described.chips, described.hosts) == (chips, hosts)
    assert len(described.devices) == chips * (2 if "7x" in topology else 1)
    assert target_of(described.devices[0].device_kind) == described.target == TARGETS[topology.split(":")[0]]
    assert {device.platform for device in described.devices} == {"tpu"}


@pytest.mark.slow
@pytest.mark.parametrize(("topology", "slices"), [("v5e:4x4", 3), ("tpu7x:2x2x1", 2)])
def test_only_the_data_axis_runs_between_slices(topology, slices, monkeypatch):
    monkeypatch.syspath_prepend(tpu_compiler.path())
    described = tpu.describe_slices(topology, slices)
    assert num_slices(described.devices) == slices
    each = len(described.devices) // slices
    for fsdp in (1, 2, each):
        mesh = make_mesh(fsdp, described.devices)
        assert mesh.shape == {"data": len(described.devices) // fsdp, "fsdp": fsdp}
        slice_of = np.vectorize(lambda device: device.slice_index)(mesh.devices)
        assert (slice_of == np.repeat(np.arange(slices), each // fsdp)[:, None]).all()
        assert set(mesh.devices.ravel()) == set(described.devices)
    with pytest.raises(InputError, match=rf" would span the {slices} slices, of {each} devices each; take a divisor"):
        make_mesh(len(described.devices), described.devices)


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:3x3", "v5e:2x", "v4"])
def test_slices_that_the_compiler_does_not_know_are_one_line(topology, monkeypatch):
    monkeypatch.syspath_prepend(tpu_compiler.path())
    with pytest.raises(InputError, match=rf"^the TPU compiler does not know {topology}: [^\n]+$"):
        tpu.describe_slices(topology)


def test_chips_have_their_published_rates_by_the_names_of_their_devices(monkeypatch):
    expected = {"NVIDIA H100 80GB HBM3": 989.5, "NVIDIA A100-SXM4-80GB": 312, "TPU v5 lite": 197, "TPU7x": 1153.5}
    for kind, tera in expected.items():
        assert target_of(kind).flops == tera * 1e12
    assert target_of("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None
    kinds = [kind for target in TARGETS.values() for kind in target.kinds]
    assert len(set(kinds)) == len(kinds)
    with pytest.raises(InputError, match=r"^unknown kind of TPU 'H100'; known: tpu7x, v4, v5e, v5p, v6e"):
        tpu.describe_slices("H100:1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed; run pip install 'diffenc_jax\[tpu\]'"):
        tpu.describe_slices("v5e:2x2")
