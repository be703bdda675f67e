"""The reader of flax checkpoints: what flax writes comes back, and nothing else does."""

import os
import pickle
import tracemalloc

import msgpack
import numpy as np
import pytest
from flax import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.interop import flax_msgpack
from diffenc_jax.lab.interop.flax_msgpack import read_checkpoint

KEYS = ("step", "ema_params")
STATE = {
    "step": 7,
    "params": {"a": np.ones(3, np.float32)},
    "ema_params": {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "net": {"b": np.float64(0.5), "c": np.arange(4, dtype=np.int32), "none": {}},
    },
    "opt_state": {"0": {"count": np.int32(7), "mu": {"a": np.zeros(3, np.float32)}}, "1": 1j},
}
WHOLE = serialization.msgpack_serialize(STATE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "checkpoint_7"


def of(place, data, keys=KEYS):
    place.write_bytes(data)
    return read_checkpoint(place, keys)


def same(ours, theirs):
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            same(ours[key], theirs[key])
    else:
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype
        np.testing.assert_array_equal(ours, theirs, strict=True)


def test_reads_what_flax_writes(place):
    same(of(place, WHOLE, tuple(STATE)), STATE)


def test_reads_what_is_asked_for_alone(place):
    same(of(place, WHOLE), {key: STATE[key] for key in KEYS})


def test_reads_arrays_in_chunks(place, monkeypatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 8)
    data = serialization.msgpack_serialize(STATE)
    assert data.count(b"__msgpack_chunked_array__") == 4
    same(of(place, data), {key: STATE[key] for key in KEYS})


def array(shape, dtype="float32", data=b"12345678"):
    return msgpack.ExtType(1, msgpack.packb([shape, dtype, data]))


def holding(value):
    return msgpack.packb({"step": 1, "ema_params": {"w": value}})


def chunked(shape, chunks):
    return {"__msgpack_chunked_array__": True, "shape": shape, "chunks": chunks}


# 1001 lists, each in the one before it: as deep as msgpack reads, and deeper than Python's repr goes.
NESTED = b"\x91" * 1000 + b"\x90"


CHUNKS = {"0": array([2]), "1": array([2])}
NO_ARRAYS = [
    ("entries with the shape [3]", array([3])),
    ("entries with the shape [1, 9223372036854775808]", array([1, 2**63])),
    ("entries with the shape [-1, -2]", array([-1, -2])),
    ("entries with the shape [2.0]", array([2.0])),
    ("an array of 2 entries with the shape [True", array([True, 2])),
    ("an array of 0 entries with the shape [0]", array([0], data=b"")),
    ("entries with the shape 2", array(2)),
    ("entries with the shape [[[[[", msgpack.ExtType(1, b"\x93" + NESTED + b"\xa7float32\xc4\x00")),
    ("an array of type 'O'", array([2], "O")),
    ("an array of type 'V8'", array([1], "V8")),
    ("an array of type 5", array([2], 5)),
    ("an array of type [[[[[", msgpack.ExtType(1, b"\x93\x91\x02" + NESTED + b"\xc4\x00")),
    ("buffer size must be a multiple of element size", array([2], data=b"1234567")),
    ("an extension of type 1 that flax does not write", msgpack.ExtType(1, msgpack.packb([1, 2]))),
    ("ema_params: 20 exceeds max_array_len", array([1] * 20)),
    ("ema_params: Unpack failed", msgpack.ExtType(1, b"\x93\x01")),
    ("an extension of type 9 that flax does not write", msgpack.ExtType(9, b"1")),
    ("an extension of type 2 that flax does not write", msgpack.ExtType(2, msgpack.packb([1.0]))),
    ("ema_params: 1 exceeds max_array_len(0)", [1]),
    ("ema_params: 401 exceeds max_map_len(400)", {str(i): i for i in range(401)}),
    ("ema_params: an entry whose name is not plain text", {"a/b": 1}),
    ("exceeds max_bin_len", b"1" * 1000),
    ("a chunked array without chunks", {"__msgpack_chunked_array__": True}),
    ("or of several types", chunked({"0": 4}, {"0": array([2]), "1": array([1], "float64")})),
    ("an array of 4 entries with the shape [5]", chunked({"0": 5}, CHUNKS)),
    ("an array of 4 entries with the shape None", chunked({"1": 4}, CHUNKS)),
]
NO_CHECKPOINTS = [
    ("it is empty", b""),
    ("it is a pickle", pickle.dumps(STATE)),
    ("it does not begin with a msgpack map", b"PK\x03\x04" + bytes(100)),
    ("step: it is cut short", b"\x81\xa4step"),
    ("its top: it is cut short", b"\xdf\x00\x00\x00\x05"),
    ("more follows after its end", WHOLE + b"\xc0"),
    ("its top: two entries 'step'", b"\x82\xa4step\x01\xa4step\x01"),
    ("step: two entries 'a'", b"\x81\xa4step\x82\xa1a\x01\xa1a\x01"),
    ("its top: an entry whose name is not plain text", b"\x81\x01\x01"),
    ("ema_params: an entry whose name is not plain text", msgpack.packb({"step": 1, "ema_params": {"a\nb": 1}})),
    ("can't decode", b"\x81\xa2\xff\xfe\x01"),
    ("300 exceeds max_str_len", msgpack.packb({"s" * 300: 1})),
    ("it is more than 32 maps deep", b"\x81\xaaema_params" + b"\x81\xa1a" * 100 + b"\x01"),
    ("step: 1 exceeds max_array_len(0)", b"\x81\xa4step" + b"\x91" * 5000),
    ("other: it is nested too deep", b"\x81\xa5other" + b"\x91" * 5000),
    ("step: it is nested too deep", b"\x81\xa4step" + b"\x81\xa1a" * 5000),
    ("step: it is nested too deep", b"\x81\xa4step" + b"\xde\x01\x90\xa1a" * 5000),
    ("its top: 4294967295 entries are more than 400", b"\xdf\xff\xff\xff\xff"),
    ("step: 4294967295 exceeds max_array_len(0)", b"\x81\xa4step\xdd\xff\xff\xff\xff"),
    ("step: 4294967295 exceeds max_map_len(400)", b"\x81\xa4step\xdf\xff\xff\xff\xff"),
    ("step: it is cut short", b"\x81\xa4step\x81\xa1w\xc9\x7f\xff\xff\xff\x01abc"),
    ("it has no step and no ema_params; it has nothing", b"\x80"),
    ("it has no ema_params; it has step, params", msgpack.packb({"step": 1, "params": {}})),
    *((message, holding(value)) for message, value in NO_ARRAYS),
]


@pytest.mark.parametrize(("message", "data"), NO_CHECKPOINTS, ids=[message for message, _ in NO_CHECKPOINTS])
def test_refuses_in_one_line_and_little_memory(place, message, data):
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            of(place, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = str(caught.value)
    assert said.startswith(f"{place} cannot be read as a flax checkpoint: ")
    assert message in said
    assert "\n" not in said
    assert len(said) < 800
    assert peak < 4 * 2**20


def test_what_is_skipped_is_not_built(place):
    """A section of millions of empty maps, 64 bytes each if they were built, and of an endless map's header."""
    count = 3_000_000
    data = msgpack.packb({"other": 1, "step": 1, "ema_params": {}}).replace(
        b"\xa5other\x01", b"\xa5other\xdd" + count.to_bytes(4, "big") + b"\x80" * count
    )
    tracemalloc.start()
    try:
        assert of(place, data) == {"step": 1, "ema_params": {}}
        assert tracemalloc.get_traced_memory()[1] < 2 * count
    finally:
        tracemalloc.stop()


def test_refuses_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "it is a folder, not one file"),
        (tmp_path / "absent", "there is no such file"),
        (tmp_path / "pipe", "it is not a regular file"),
    ):
        with pytest.raises(InputError, match=message):
            read_checkpoint(path, KEYS)


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [("MAX_BYTES", len(WHOLE) - 1, f"it has {len(WHOLE)} bytes"), ("MAX_ENTRIES", 4, "more than 4 entries")],
)
def test_refuses_a_file_beyond_all_checkpoints(place, monkeypatch, limit, value, message):
    of(place, WHOLE)
    monkeypatch.setattr(flax_msgpack, limit, value)
    with pytest.raises(InputError, match=message):
        of(place, WHOLE)


@pytest.mark.parametrize("length", range(0, len(WHOLE), 7))
def test_every_cut_is_noticed(place, length):
    with pytest.raises(InputError, match=r"it is cut short|it is empty"):
        of(place, WHOLE[:length])


def arrays_of(tree):
    for value in tree.values():
        if isinstance(value, dict):
            yield from arrays_of(value)
        elif isinstance(value, np.ndarray):
            yield value


@settings(deadline=None, max_examples=400)
@given(data=st.data())
def test_a_changed_file_is_read_or_refused(place, data):
    """Some bytes replaced, dropped or put in: InputError in one line, or a read no larger than the file."""
    changed = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(changed) - 1))
        new = data.draw(st.binary(max_size=6))
        changed[at : at + data.draw(st.integers(0, 6))] = new
    try:
        found = of(place, bytes(changed))
    except InputError as refused:
        said = str(refused)
        assert "\n" not in said
        return
    assert found.keys() == set(KEYS)
    if isinstance(found["ema_params"], dict):
        assert sum(array.nbytes for array in arrays_of(found["ema_params"])) <= len(changed)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(place, data):
    with pytest.raises(InputError):
        of(place, data)
