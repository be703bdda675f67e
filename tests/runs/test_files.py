"""Files are written completely or not at all, and errors of reading are one line."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.runs import files, storage


def test_what_is_written_is_read(tmp_path):
    files.write_text(tmp_path / "a.txt", "γ\n")
    assert files.read_text(tmp_path / "a.txt") == "γ\n"
    files.write_json(tmp_path / "a.json", {"a": [1, None]})
    assert files.read_json(tmp_path / "a.json") == {"a": [1, None]}
    files.write_arrays(tmp_path / "a.npz", values=np.arange(3), text="x")
    found = files.read_arrays(files.read_bytes(tmp_path / "a.npz"))
    np.testing.assert_array_equal(found["values"], np.arange(3))
    assert str(found["text"]) == "x"


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    files.write_text(tmp_path / "a", "old")
    with pytest.raises(TypeError):
        storage.write(tmp_path / "a", "not bytes")
    assert files.read_text(tmp_path / "a") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


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


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a.json is not JSON \(.*\); make it again$") as caught:
        files.read_json(tmp_path / "a.json", "make it again")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none cannot be read: No such file or directory; train first$"):
        files.read_bytes(tmp_path / "none", "train first")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory$"):
        files.read_text(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"a.txt is not a text file$"):
        files.read_text(tmp_path / "a.txt")


def test_damaged_arrays_are_recognised(tmp_path):
    files.write_arrays(tmp_path / "a.npz", a=np.arange(1000))
    content = files.read_bytes(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", np.arange(3))
    np.savez(tmp_path / "objects.npz", a=np.array([{}]))
    others = [files.read_bytes(tmp_path / name) for name in ("a.npy", "objects.npz")]
    flipped = content[:300] + bytes([content[300] ^ 1]) + content[301:]
    for damaged in (b"", b"no archive", content[:500], flipped, *others):
        assert files.read_arrays(damaged) is None


def test_folders_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"file/eval cannot be written to: Not a directory; make it a folder that can be written to$"
    ):
        files.check_writable(tmp_path / "file" / "eval")
    files.check_writable(tmp_path / "new" / "eval")
    assert list((tmp_path / "new" / "eval").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"a": ["x\\u001b[2J"]}', "a text in it holds control characters"),
        ('{"a\\n": 1}', "a text in it holds control characters"),
        ('{"a": "\\ud800"}', "a text in it holds control characters"),
        ('{"a": 9223372036854775808}', "it holds an integer of more than 64 bits"),
        ('{"a": -1' + "0" * 5000 + "}", "it holds an integer of more than 64 bits"),
        ('{"a": ' * 5000 + "1" + "}" * 5000, "its values are nested too deeply"),
    ],
)
def test_values_that_no_run_writes_are_refused(tmp_path, content, why):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=rf"a.json is not JSON \({why}\)$"):
        files.read_json(tmp_path / "a.json")


def test_a_text_file_is_limited(tmp_path):
    (tmp_path / "a.json").touch()
    os.truncate(tmp_path / "a.json", files.TEXT_BYTES + 1)
    for read in (files.read_json, files.read_text):
        with pytest.raises(InputError, match=r"it has 16,777,217 bytes, of which at most 16,777,216 are read$"):
            read(tmp_path / "a.json")


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


def header(shape, kind="<f8"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        archive({"a": header((3,)) + bytes(24)}, flags=1),  # encrypted
        archive({"a": header((2**31,)) + bytes(24)}),
        archive({"a": header((2**40, 2**40)) + bytes(24)}),
        archive({"a": header((2**26,)) + bytes(2**29)}, compression=zipfile.ZIP_DEFLATED),  # a bomb
        archive({"a": b"-" * 9000}),
        archive({"a": b"\x93NUMPY\x01\x00\x30\x20" + b"-" * 8240}),
    ],
    ids=["encrypted", "long", "huge", "bomb", "junk", "header"],
)
def test_hostile_arrays_are_damaged_ones(content):
    tracemalloc.start()
    try:
        assert files.read_arrays(content) is None
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_arrays_of_an_open_file_and_compressed_ones(tmp_path):
    values = np.arange(1000.0)
    files.write_arrays(tmp_path / "a.npz", values=values)
    np.savez_compressed(tmp_path / "packed.npz", values=values)
    with files.opened(tmp_path / "a.npz") as file:
        assert files.is_archive(file)
        np.testing.assert_array_equal(files.read_arrays(file)["values"], values)
        assert files.digest_of(file) == files.sha256_of((tmp_path / "a.npz").read_bytes())
    packed = (tmp_path / "packed.npz").read_bytes()
    assert files.read_arrays(packed) is None
    np.testing.assert_array_equal(files.read_arrays(packed, packed=True)["values"], values)


def test_names_with_control_characters_are_refused_in_a_listing(tmp_path):
    (tmp_path / "a\x1b[2J.json").touch()
    (tmp_path / "b.json").touch()
    with pytest.raises(InputError, match=r"has a name with control characters; rename or delete it$"):
        files.list_paths(tmp_path, "*.json")
    assert files.list_paths(tmp_path, "b*") == [tmp_path / "b.json"]
