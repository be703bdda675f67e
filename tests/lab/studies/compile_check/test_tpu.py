"""Slices by name: existing ones, as the compiler knows them, and others."""

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.studies.compile_check import tpu
from diffenc_jax.parallel.sharding import make_mesh, num_slices
from tests.lab.studies.compile_check import tpu_compiler


@pytest.mark.slow  # it has to be installed
@pytest.mark.parametrize(
    ("topology", "chips", "hosts"),
    [
        ("v4:2x2x2", 8, 2),
        ("v5e:1x1", 1, 1),
        ("v5e:4x4", 16, 4),
        ("v5p:4x4x8", 128, 32),
        ("v6e:8x8", 64, 16),
        ("tpu7x:2x2x2", 8, 2),
        ("v7x:2x2x1", 4, 1),
    ],
)
def test_a_slice_has_a_device_for_each_chip(topology, chips, hosts, monkeypatch):
    monkeypatch.syspath_prepend(tpu_compiler.path())
    found = tpu.describe_slices(topology)
    assert (found.chips, found.hosts) == (chips, hosts)
    assert len(found.devices) == chips * (2 if "7x" in topology else 1)
    assert found.chip == tpu.CHIPS[topology.split(":")[0].replace("v7x", "tpu7x")]
    assert {device.platform for device in found.devices} == {"tpu"}


@pytest.mark.slow
@pytest.mark.parametrize(("topology", "slices"), [("v5e:2x2", 2), ("v5e:4x4", 3), ("v4:2x2x1", 2), ("tpu7x:2x2x1", 2)])
def test_only_the_data_axis_runs_between_slices(topology, slices, monkeypatch):
    monkeypatch.syspath_prepend(tpu_compiler.path())
    found = tpu.describe_slices(topology, slices)
    assert num_slices(found.devices) == slices
    each = len(found.devices) // slices
    for fsdp in (1, 2, each):
        mesh = make_mesh(fsdp, found.devices)
        assert mesh.shape == {"data": len(found.devices) // fsdp, "fsdp": fsdp}
        slice_of = np.vectorize(lambda device: device.slice_index)(mesh.devices)
        assert (slice_of == np.repeat(np.arange(slices), each // fsdp)[:, None]).all()
        assert set(mesh.devices.ravel()) == set(found.devices)
    with pytest.raises(InputError, match=rf" would span the {slices} slices, of {each} devices each; take a divisor"):
        make_mesh(len(found.devices), found.devices)


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v7:2x2", "unknown kind of TPU 'v7'; known: tpu7x, v4, v5e, v5p, v6e"),
        ("v5e:4x2", "there is no slice 'v5e:4x2'; v5e:SHAPE has the shapes 1x1, 2x2, 2x4, 4x4, 4x8, 8x8, 8x16, 16x16"),
        ("v6e:2x2x1", "there is no slice 'v6e:2x2x1'"),
        ("v5e:2x", "there is no slice 'v5e:2x'"),
        ("v4:2x2", "there is no slice 'v4:2x2'; v4:SHAPE has the shapes 2x2x1, 2x2x2, 2x2x4, 2x4x4, and AxBxC"),
        ("v4:4x8x4", "and AxBxC of multiples of 4, A <= B <= C, with at most 4096 chips"),
        ("v4:16x16x20", "with at most 4096 chips"),
        ("", "unknown kind of TPU ''"),
    ],
)
def test_other_slices_are_refused_with_the_existing_ones(topology, message):
    with pytest.raises(InputError) as caught:
        tpu.describe_slices(topology)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_compiler_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed; run pip install 'diffenc_jax\[tpu\]'"):
        tpu.describe_slices("v5e:2x2")
