"""Slices and GPUs by name: existing ones, as the compilers know them, and others."""

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.costs import machines
from diffenc_jax.lab.costs.machines import TARGETS, target_of
from diffenc_jax.parallel.sharding import make_mesh, num_slices
from tests.lab.costs import compilers

SLICES = [("v4:2x2x2", 8, 2), ("v5e:1x1", 1, 1), ("v5p:4x4x8", 128, 32), ("v6e:8x8", 64, 16), ("tpu7x:2x2x2", 8, 2)]


@pytest.mark.slow  # it has to be installed
@pytest.mark.parametrize(("topology", "chips", "hosts"), SLICES)
def test_a_slice_has_a_device_for_each_chip(topology, chips, hosts, monkeypatch):
    monkeypatch.syspath_prepend(compilers.path("tpu"))
    target, devices = machines.describe(topology)
    assert len(devices) == chips * target.devices == chips * (2 if "7x" in topology else 1)
    assert len({device.process_index for device in devices}) == hosts
    assert target_of(devices[0].device_kind) == target == TARGETS[topology.split(":")[0]]
    assert {device.platform for device in devices} == {"tpu"}


@pytest.mark.slow
@pytest.mark.parametrize(("topology", "slices"), [("v5e:4x4", 3), ("tpu7x:2x2x1", 2)])
def test_only_the_data_axis_runs_between_slices(topology, slices, monkeypatch):
    monkeypatch.syspath_prepend(compilers.path("tpu"))
    _, devices = machines.describe(topology, slices)
    assert num_slices(devices) == slices
    each = len(devices) // slices
    for fsdp in (1, 2, each):
        mesh = make_mesh(fsdp, devices)
        assert mesh.shape == {"data": len(devices) // fsdp, "fsdp": fsdp}
        slice_of = np.vectorize(lambda device: device.slice_index)(mesh.devices)
        assert (slice_of == np.repeat(np.arange(slices), each // fsdp)[:, None]).all()
        assert set(mesh.devices.ravel()) == set(devices)
    with pytest.raises(InputError, match=rf" would span the {slices} slices, of {each} devices each; take a divisor"):
        make_mesh(len(devices), devices)


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:3x3", "v5e:2x", "v4"])
def test_slices_that_the_compiler_does_not_know_are_one_line(topology, monkeypatch):
    monkeypatch.syspath_prepend(compilers.path("tpu"))
    with pytest.raises(InputError, match=rf"^the compiler for v\d.? does not know {topology}: [^\n]+$"):
        machines.describe(topology)


CARDS = """
import jax, jax.numpy as jnp
from diffenc_jax.lab.costs.machines import TARGETS, describe
for name, target in TARGETS.items():
    if target.capability:
        described, devices = describe(f"{name.upper()}:2x4")
        assert described == target
        assert (len(devices), devices[7].process_index, devices[0].device_kind) == (8, 1, target.kinds[0])
        sharding = jax.sharding.SingleDeviceSharding(describe(f"{name}:1")[1][0])
        x = jax.ShapeDtypeStruct((256, 256), jnp.bfloat16, sharding=sharding)
        jax.jit(lambda x: x @ x).lower(x).compile()
        print(name)
"""


@pytest.mark.slow
def test_every_card_can_be_compiled_for():
    names = compilers.python("gpu", CARDS).split()
    assert {"h100", "a100", "l4", "rtx4090"} < {*names} == {name for name in TARGETS if TARGETS[name].capability}


def test_devices_are_known_by_their_names_in_jax():
    assert target_of("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None
    for target in TARGETS.values():
        assert all(target_of(kind) is target for kind in target.kinds)
        # A step that is bound by neither does 50 to 700 FLOPs per byte.
        assert not target.memory or 50 < target.flops / target.bandwidth < 700


REFUSED = [
    ("h1000:8", 1, "^unknown kind of accelerator 'h1000', perhaps h100; known: a100, .*, v5p, v6e$"),
    ("h100-nvl:1", 1, "unknown kind of accelerator 'h100-nvl'"),
    ("v5e:2x2", 1, r"the TPU compiler is not installed; run pip install 'diffenc_jax\[tpu\]'"),
    ("h100:8", 1, r"the GPU compiler is not installed; run pip install 'diffenc_jax\[cuda\]'"),
    ("h100", 1, "^no cards are named h100:; write h100:8, or h100:2x8 for two hosts with 8 cards each"),
    ("a100:0x8", 1, "^no cards are named a100:0x8; write a100:8"),
    ("h100:8", 2, "^--slices is for TPUs; write h100:2x8 for two hosts"),
]


@pytest.mark.parametrize(("name", "slices", "message"), REFUSED)
def test_machines_that_cannot_be_compiled_for_are_one_line(name, slices, message, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(machines, "entry_points", lambda group: ())
    with pytest.raises(InputError, match=message):
        machines.describe(name, slices)
