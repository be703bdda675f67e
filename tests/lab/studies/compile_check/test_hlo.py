"""Costs read from texts as the TPU compiler writes them."""

import pytest

from diffenc_jax.lab.studies.compile_check.hlo import Array, arrays_of, estimated_cycles, memory_bytes

KIB = 2**10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f32[]{:T(128)}", [(4, True)]),
        ("pred[7]", [(7, True)]),
        ("bf16[8,128]{1,0:T(8,128)(2,1)}", [(2 * KIB, True)]),
        ("bf16[3,64]{1,0:T(8,128)(2,1)S(1)}", [(2 * KIB, False)]),  # padded to 8 and 128
        ("f32[64,3]{0,1:T(8,128)}", [(4 * KIB, True)]),  # the other way round
        ("u8[2,3,32,100]{3,0,2,1:T(32,128)(4,1)}", [(3 * 32 * 32 * 128, True)]),
        ("(f32[128]{0:T(128)}, s32[]{:S(2)})", [(512, True), (4, False)]),
    ],
)
def test_arrays_have_the_size_of_their_layout(text, expected):
    assert arrays_of(text) == [Array(*array) for array in expected]


TEXT = """HloModule step

%fused (param: f32[1024]) -> f32[1024] {
  %param = f32[1024]{0:T(1024)} parameter(0)
  ROOT %twice = f32[1024]{0:T(1024)} add(%param, %param), CYCLES:"7"}
}

ENTRY %main (x: f32[1024]) -> f32[1024] {
  %x = f32[1024]{0:T(1024)} parameter(0)
  %in = (f32[1024]{0:T(1024)S(1)}, f32[1024]{0:T(1024)}, u32[]{:S(2)}) copy-start(%x)
  %near = f32[1024]{0:T(1024)S(1)} copy-done(%in)
  %inner = f32[1024]{0:T(1024)S(1)} fusion(%near), kind=kLoop, calls=%fused, CYCLES:"300"}
  %mixed = f32[1024]{0:T(1024)} fusion(%inner, %x), kind=kLoop, calls=%fused
  %part = ((f32[1024]{0:T(1024)}), f32[256]{0:T(256)S(1)}, s32[]{:S(2)}) slice-start(%mixed), slice={[0:256]}
  %quarter = f32[256]{0:T(256)S(1)} slice-done(%part)
  %whole = f32[1024]{0:T(1024)S(1)} custom-call(%quarter), custom_call_target="ConcatBitcast"
  ROOT %out = f32[1024]{0:T(1024)} fusion(%whole), kind=kLoop, calls=%fused, metadata={op_name="add(%x)"}, CYCLES:"20"}
}
""".replace("CYCLES", 'backend_config={"estimated_cycles"')


def test_each_operation_counts_what_it_moves_to_and_from_the_memory():
    # In: 4 KiB read. Inner: none. Mixed: x read, its result written. Part: 1 KiB read. Out: written.
    assert memory_bytes(TEXT) == (4 + 4 + 4 + 1 + 4) * KIB


def test_cycles_are_those_of_the_main_program():
    assert estimated_cycles(TEXT) == 320
