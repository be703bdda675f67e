"""Kernels, bytes and cycles of programs whose counts are known, and the machines that they are for."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.costs import hlo, machines
from diffenc_jax.lab.costs.machines import TARGETS, target_of
from diffenc_jax.parallel.sharding import make_mesh, num_slices
from tests.lab.costs import compilers

KIB = 1024
# Per run: the body of the loop reads a slice of 1 KiB of the stack and the carried 1 KiB, adds them, and writes the sum
# into a slice of the other stack. Before it, an asynchronous copy; after it, a library call with scratch memory, the
# larger branch of a conditional, and, beside the cores of a TPU, an array that is not counted.
PROGRAM = Path(__file__).with_name("program.hlo").read_text()
CYCLES = 'backend_config={"estimated_cycles":"30"}'
TRIPS = ', backend_config={"known_trip_count":{"n":"5"}}'


@pytest.mark.parametrize(("trips", "runs"), [("", 8), (TRIPS, 5)], ids=["by the condition", "by the compiler"])
def test_a_program_is_counted_by_what_runs(trips, runs):
    kernels = list(hlo.kernels(PROGRAM.replace("CYCLES", CYCLES).replace("TRIPS", trips)))
    assert {kernel.kind: (kernel.runs, kernel.moved, kernel.sent, kernel.part) for kernel in kernels} == {
        "copy": (1, 16 * KIB, 0, "optimizer"),
        # The carry and a slice in, the carry and a slice out, and the index. The part is that of the sum, since the
        # fusion itself has no name.
        "fusion": (runs, 4 * KIB + 4, 0, "norms, swish"),
        "custom-call": (1, 10 * KIB, 0, "other"),
        "add": (1, 3 * KIB, 0, "other"),
        "negate": (1, 2 * KIB, 0, "other"),
        "convert": (1, 8 * KIB, 0, "other"),
        "reduce-scatter": (1, 3 * KIB // 2, KIB / 2, "collectives"),
        "all-reduce": (1, 2 * KIB, KIB, "collectives"),
    }
    assert sum(kernel.runs * kernel.cycles for kernel in kernels) == 30 * (runs + 1)


OPERATIONS = [
    ("jvp(score_network)/UNet/down/while/body/ResnetBlock/norm_1/jit(group_norm)/mul", "norms, swish", False),
    ("transpose(jvp(score_network))/UNet/mid_0/conv_0/conv_general_dilated", "convolutions", True),
    ("jvp(score_network)/UNet/mid_0/cond/dot_general", "time embedding", False),
    ("jvp(score_network)/UNet/UNet._flat/cond/branch_0_fun/add", "rest of networks", False),
    ("jvp(score_network)/UNet/mid_0/convert_element_type", "rest of networks", False),
    ("transpose(jvp(score_network))/UNet/attention/norm/mul", "attention", True),
    ("jvp(encoder)/UNet/mid_0/conv_0/add", "encoder", False),
    ("noise/jit(_normal)/jit(_normal_real)/erf_inv", "noise", False),
    ("optimizer/add", "optimizer", False),
    ("vmap(jvp(VDM2V))/score_model/VDMUNet_0/up.block_3/nin_shortcut/dot_general", "shortcuts, joins", False),
    ("vmap(transpose(jvp(VDM2V)))/score_model/VDMUNet_0/up.block_3/GroupNorm_0/mul", "norms, swish", True),
    ("add", "other", False),
]


@pytest.mark.parametrize(("op_name", "part", "backward"), OPERATIONS)
def test_the_part_of_an_operation_is_that_of_its_scopes(op_name, part, backward):
    kernel = hlo.Kernel("fusion", f"jit(train_step)/{op_name}", 1, 0, 0)
    assert (kernel.part, kernel.is_backward) == (part, backward)


COLLECTIVES = [
    ("f32[64] all-reduce(%x), replica_groups=mesh['a'=4,'b'=8] {'a'}", 2 * 3 / 4 * 256),
    ("f32[64] all-reduce(%x), replica_groups=mesh['a'=4,'b'=8] {'a','b':(2)2}", 2 * 7 / 8 * 256),
    ("(f32[64]{0:T(128)S(1)}, f32[8]) all-reduce(%x, %x), replica_groups=[2,4]<=[8]", 2 * 3 / 4 * 512),
    ("f32[256] all-gather(%x), replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}", 3 / 4 * 1024),
    ("f32[64] all-reduce(%x), replica_groups={}", 2 * 256),
    ("f32[64] collective-permute(%x), source_target_pairs={{0,1},{1,0}}", 256),
    ("f32[64] fusion(%x), kind=kCustom, calls=%scattered", 3 / 4 * 256),
    ("f32[64] call-done(%start)", 3 / 4 * 256),
    ("f32[64] add(%x, %x)", 0),
]


@pytest.mark.parametrize(("instruction", "sent"), COLLECTIVES)
def test_collective_instructions_send_what_a_ring_does(instruction, sent):
    text = f"""
%scattered (p: f32[64]) -> f32[16] {{
  %p = f32[64] parameter(0)
  ROOT %part = f32[16] reduce-scatter(%p), replica_groups=[1,4]<=[4], dimensions={{0}}
}}

ENTRY %main (x: f32[64]) -> f32[64] {{
  %x = f32[64] parameter(0)
  %start = ((f32[64]), f32[16], u32[]) call-start(%x), to_apply=%scattered
  ROOT %y = {instruction}
}}
"""
    assert [kernel.sent for kernel in hlo.kernels(text)] == [sent]


def test_sizes_of_values():
    assert hlo.size("(f32[], bf16[3,5]{1,0:T(8,128)(2,1)}, (pred[7], u64[2]), s4[6], token[])") == 4 + 30 + 7 + 16 + 3
    assert [hlo.size("f32[8,128]{1,0:T(8,128)S(1)}", everywhere) for everywhere in (False, True)] == [0, 4096]


OF_A_CARD = """
import json, jax, jax.numpy as jnp
from jax.experimental import pallas
from diffenc_jax.lab.costs import hlo
from diffenc_jax.lab.costs.machines import describe, lowering
from diffenc_jax.parallel.sharding import make_mesh, replicated
mesh = make_mesh(1, describe("h100:1")[1])
x, w = (jax.ShapeDtypeStruct(shape, jnp.float32, sharding=replicated(mesh)) for shape in ((1024, 512), (8192, 1024)))
def twice(x, out):
    out[...] = 2 * x[...]
programs = {
    "twice": lambda x, w: 2 * x + 1,
    "product": lambda x, w: w @ x,
    "loop": lambda x, w: jax.lax.scan(lambda c, row: (c + row, c), jnp.zeros(512), x),
    "pallas": lambda x, w: pallas.pallas_call(twice, out_shape=jax.ShapeDtypeStruct((8, 128), x.dtype))(x[:8, :128]),
}
for name, program in programs.items():
    with lowering(mesh):
        lowered = jax.jit(program, keep_unused=True).lower(x, w)
    print(json.dumps([name, [(kernel.runs, kernel.moved) for kernel in hlo.kernels(lowered.compile().as_text())]]))
"""


@pytest.mark.slow
def test_programs_for_a_card_are_counted_as_by_hand():
    counts = dict(map(json.loads, compilers.python("gpu", OF_A_CARD).splitlines()))
    assert counts["twice"] == [[1, 2 * 4 * 1024 * 512]]
    assert counts["product"] == [[1, 4 * (8192 * 1024 + 1024 * 512 + 8192 * 512)]]
    assert counts["pallas"] == 2 * [[1, 2 * 4 * 8 * 128]]  # the slice, and the kernel
    moved = Counter()
    for runs, each in counts["loop"]:
        moved[runs] += runs * each
    # Per step: the carry in and out, a row in, the carry copied into a row of the stack.
    assert 4 * 4 * 512 * 1024 <= moved[1024] < 6 * 4 * 512 * 1024


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
