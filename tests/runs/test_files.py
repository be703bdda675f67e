"""Files are written completely or not at all, and errors of reading are one line."""

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


def test_a_figure_is_saved_as_pixels_and_as_vectors(tmp_path):
    from matplotlib.figure import Figure

    files.save_figure(Figure(figsize=(1, 1)), tmp_path / "a-0.5")
    assert files.read_bytes(tmp_path / "a-0.5.png").startswith(b"\x89PNG")
    assert files.read_bytes(tmp_path / "a-0.5.pdf").startswith(b"%PDF")


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
