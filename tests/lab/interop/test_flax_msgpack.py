"""The reader of flax checkpoints: what flax writes comes back, and other files are refused in one line."""

import os
import pickle
from contextlib import suppress

import msgpack
import numpy as np
import pytest
from flax import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.interop import flax_msgpack
from diffenc_jax.lab.interop.convert import read_published

STATE = {
    "step": 7,
    "params": {"a": np.ones(3, np.float32)},
    "ema_params": {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "net": {"b": np.arange(4, dtype=np.float32)}},
    "opt_state": {"0": {"count": np.int32(7)}},
}
WHOLE = serialization.msgpack_serialize(STATE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "checkpoint_7"


def published(place, data):
    place.write_bytes(data)
    return read_published(place)


@pytest.mark.parametrize("chunk", [2**30, 8])
def test_reads_what_flax_writes(place, monkeypatch, chunk):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", chunk)
    step, arrays = published(place, serialization.msgpack_serialize(STATE))
    assert step == 7
    assert arrays.keys() == {"a", "net/b"}
    np.testing.assert_array_equal(arrays["a"], STATE["ema_params"]["a"])
    np.testing.assert_array_equal(arrays["net/b"], STATE["ema_params"]["net"]["b"])


def holding(value):
    return msgpack.packb({"step": 1, "ema_params": {"a": value}})


def array(shape, dtype="float32", data=b"12345678"):
    return msgpack.ExtType(1, msgpack.packb([shape, dtype, data]))


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("cannot be read as a flax checkpoint: ", b""),
        ("it is a pickle, which is a program, and is not run", pickle.dumps(STATE)),
        ("cannot be read as a flax checkpoint: ", b"PK\x03\x04" + bytes(100)),
        ("cannot be read as a flax checkpoint: ", WHOLE[:-5]),
        ("cannot be read as a flax checkpoint: ", b"\x81\xa4step" + b"\x81\xa1a" * 5000),
        ("cannot be read as a flax checkpoint: ", b"\x81\xa4step\xdd\xff\xff\xff\xff"),
        ("cannot be read as a flax checkpoint: ", holding(array([10**12]))),
        ("cannot be read as a flax checkpoint: ", holding(array([1], "object"))),
        ("its parameter a is not an array of floats", holding(array([2], "S4"))),
        ("its parameter a is not an array of floats", holding([1.0])),
        ("its ema_params are not a map of names", msgpack.packb({"step": 1, "ema_params": 3})),
        ("its ema_params are not a map of names", msgpack.packb({"step": 1, "ema_params": {3: 3}})),
        ("its step is not a whole number from 0 to", msgpack.packb({"step": -1, "ema_params": {}})),
        ("it has no step and no ema_params; it has nothing", b"\x80"),
        ("it has no ema_params; it has step, params", msgpack.packb({"step": 1, "params": {}})),
    ],
)
def test_refuses_in_one_line(place, message, data):
    with pytest.raises(InputError) as caught:
        published(place, data)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_what_is_no_file(tmp_path, place, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "it is a folder"),
        (tmp_path / "pipe", "it is not a regular file"),
        (tmp_path / "none", "there is no such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_published(path)
    monkeypatch.setattr(flax_msgpack, "MAX_BYTES", 9)
    with pytest.raises(InputError, match="it is larger than 9 bytes"):
        published(place, WHOLE)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_changed_file_is_read_or_refused(place, data):
    changed = bytearray(WHOLE)
    for position in data.draw(st.lists(st.integers(0, len(WHOLE) - 1), min_size=1, max_size=4)):
        changed[position] = data.draw(st.integers(0, 255))
    with suppress(InputError):
        published(place, bytes(changed))
