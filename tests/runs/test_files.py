"""Files are written completely or not at all, and errors of reading are one line."""

import io
import zipfile

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.runs import files, storage


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    """Not even one that foresees the temporary name."""
    outside, place = tmp_path / "outside", tmp_path / "run"
    outside.write_text("mine")
    place.mkdir()
    (place / "config.json.tmp").symlink_to(outside)
    files.write_json(place / "config.json", 3)
    monkeypatch.setattr(storage.secrets, "token_hex", lambda number: "0")
    (place / "config.json.0.tmp").symlink_to(outside)
    with pytest.raises(FileExistsError):
        files.write_json(place / "config.json", 4)
    assert outside.read_text() == "mine"
    assert files.read_json(place / "config.json") == 3


NOT_JSON = [
    b"",
    b"\xff",
    b"[" * 100_000,
    b'{"a": ["x\\u001b[2J"]}',
    b'{"a": "\\ud800"}',
    b'[{"b": {"a": 1, "a": 1}}]',
    b'{"a": 9223372036854775808}',
    b'{"a": -1' + b"0" * 5000 + b"}",
]


@pytest.mark.parametrize("content", NOT_JSON)
def test_what_is_not_json_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a.json is not JSON \(.*\); make it again$") as caught:
        files.read_json(tmp_path / "a.json", "make it again")
    assert "\n" not in str(caught.value)


def archive(entries, flags=0, **options):
    """An .npz file of these contents by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as made:
        for name, content in entries.items():
            made.writestr(f"{name}.npy", content)
    content = bytearray(file.getvalue())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(signature) + offset] |= flags
    return bytes(content)


def header(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue()


DAMAGED = {
    "empty": b"",
    "truncated": archive({"a": header((2,)) + bytes(16)})[:-9],
    "flipped": archive({"a": header((2,)) + bytes(16)}).replace(bytes(16), bytes(15) + b"x"),
    "encrypted": archive({"a": header((3,)) + bytes(24)}, flags=1),
    "long": archive({"a": header((2**31,)) + bytes(24)}),
    "huge": archive({"a": header((2**40, 2**40)) + bytes(24)}),
    "bomb": archive({"a": header((2**26,)) + bytes(2**29)}, compression=zipfile.ZIP_DEFLATED),
    "header": archive({"a": b"\x93NUMPY\x01\x00\x30\x20" + b"-" * 8240}),
    "text": archive({"a": b"text"}),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_and_hostile_arrays_are_recognised(kind):
    assert files.read_arrays(DAMAGED[kind]) is None


def test_compressed_arrays_are_read_where_they_are_allowed(tmp_path):
    values = np.arange(1000.0)
    np.savez_compressed(tmp_path / "packed.npz", values=values)
    packed = (tmp_path / "packed.npz").read_bytes()
    assert files.read_arrays(packed) is None
    np.testing.assert_array_equal(files.read_arrays(packed, packed=True)["values"], values)


def test_names_with_control_characters_are_refused_in_a_listing(tmp_path):
    (tmp_path / "a\x1b[2J.json").touch()
    (tmp_path / "b.json").touch()
    with pytest.raises(InputError, match=r"has a name with control characters; rename or delete it$"):
        files.list_paths(tmp_path, "*.json")
    assert files.list_paths(tmp_path, "b*") == [tmp_path / "b.json"]
