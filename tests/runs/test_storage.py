"""Files on disk and objects in a bucket behave alike, also as locks of a workdir, whatever happens to requests."""

import errno
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import pytest

from diffenc_jax.core.buckets import as_path
from diffenc_jax.core.errors import InputError, InUse, RunError
from diffenc_jax.runs import files, lock, storage
from diffenc_jax.runs.lock import LOCK, locked
from tests.bucket import Faults
from tests.processes import python


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path):
    """A folder that does not exist yet."""
    return tmp_path / "run" if request.param == "disk" else request.getfixturevalue("bucket").folder


def test_what_is_written_is_read_listed_moved_and_deleted(folder):
    with pytest.raises(FileNotFoundError) as caught:
        storage.read(folder / "x")
    assert caught.value.filename == str(folder / "x")
    assert not storage.exists(folder)
    files.check_writable(folder)
    assert storage.glob(folder, "*") == []
    for name in ("a/config.json", "a/deep/x.json", "b/config.json", "b.json"):
        storage.make_folder((folder / name).parent)
        storage.write(folder / name, name.encode())
    storage.write(folder / "b.json", b"new")
    assert storage.read(folder / "b.json") == b"new"
    assert storage.is_folder(folder / "a")
    assert not storage.is_folder(folder / "b.json")
    assert storage.glob(folder, "*.json") == [folder / "b.json"]
    storage.move(folder / "a", folder / "c")
    assert not storage.exists(folder / "a")
    assert storage.read(folder / "c/deep/x.json") == b"a/deep/x.json"
    storage.delete(folder / "c")
    storage.delete(folder / "none")
    assert storage.glob(folder, "*") == [folder / "b", folder / "b.json"]


def test_a_folder_without_permission_is_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    """Root may list every folder, so that the system's answer is imitated."""

    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", folder)

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(storage, "read", refuse)
    for read in (lambda path: files.list_paths(path, "*"), lambda path: files.read_if_present(path, "delete it")):
        with pytest.raises(InputError, match=rf"{tmp_path} cannot be read: Permission denied; change its permissions$"):
            read(tmp_path)
    assert files.list_paths(tmp_path / "none", "*") == []


def test_folders_loops_pipes_and_devices_are_not_read(tmp_path):
    """A pipe and a device would be read for ever."""
    loop, pipe, device, link = (tmp_path / name for name in ("loop", "pipe", "device", "link"))
    loop.symlink_to("loop")
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    refused = {tmp_path: "Is a directory", loop: "Too many levels of symbolic links"}
    for path, why in (refused | dict.fromkeys((pipe, device), "it is no regular file")).items():
        for read in (files.read_bytes, files.read_if_present):
            with pytest.raises(InputError, match=f"{path} cannot be read: {why}$"):
                read(path)
    link.symlink_to("file")
    (tmp_path / "file").write_text("x")
    assert files.read_bytes(link) == b"x"


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127 + "e", "d/" * 150 + "e"], ids=["long", "two bytes", "deep"])
def test_names_as_long_as_the_system_allows(tmp_path, name):
    path = tmp_path / name
    files.check_writable(path.parent)
    storage.write(path, b"content")
    assert storage.read(path) == b"content"


def test_one_of_many_creates_an_object(bucket):
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: storage.create(bucket.folder / "x", bytes([number])), range(8)))
    assert created.count(True) == 1
    assert storage.read(bucket.folder / "x") == bytes([created.index(True)])


@pytest.mark.slow
def test_nothing_is_lost_when_requests_fail(bucket):
    for kind in (429, 503, "cut", "lost", "short"):
        bucket.faults = Faults(share=0.08, kinds=(kind,))
        path = bucket.folder / str(kind)
        for number in range(2):
            content = bytes([number]) * 5000
            storage.write(path / str(number), content)
            assert storage.read(path / str(number)) == content
            assert storage.create(path / f"{number}.new", content)
            assert len(storage.glob(path, "*")) == 2 * number + 2
    assert not storage.create(path / "0.new", b"another's")


FAULTS = [
    (403, storage.NO_PERMISSION),
    (401, storage.NO_CREDENTIALS),
    (400, "the bucket cannot be reached (check its name and the network): a fault, 400"),
]


@pytest.mark.parametrize(("fault", "why"), FAULTS)
def test_what_cannot_be_done_is_one_line(bucket, fault, why):
    bucket.faults = Faults(share=1.0, kinds=(fault,))
    path = bucket.folder / "config.json"
    with pytest.raises(InputError) as caught:
        files.check_writable(bucket.folder)
    assert str(caught.value) == f"{bucket.folder} cannot be written to: {why}; make it a folder that can be written to"
    listed, read = lambda path: files.list_paths(path.parent, "*"), lambda path: files.read_bytes(path, "delete it")
    for act in (files.read_json, files.exists, listed, read):
        with pytest.raises(InputError, match=re.escape(f"cannot be read: {why}") + "$"):
            act(path)


def test_a_missing_bucket_is_named(bucket):
    folder = as_path("gs://none-of-this-name/run")
    assert not files.exists(folder / "config.json")
    with pytest.raises(InputError, match=r"none-of-this-name/run cannot be written to: there is no such bucket; make"):
        files.check_writable(folder)


@pytest.mark.parametrize("text", ["s3://bucket/run", "gs://bucket/", "gs:/bucket/run"])
def test_addresses_of_no_folder_and_no_bucket_are_refused(text):
    with pytest.raises(InputError, match=r"cannot be opened; give a local folder, or gs://BUCKET/FOLDER on Google"):
        as_path(text)


def test_a_write_to_a_full_disk_names_its_file_and_leaves_what_was_there(small_disk):
    """Also where a part of it fits."""
    disk, fill = small_disk
    storage.write(disk / "a", b"old")
    fill()
    with (disk / "ballast").open("r+b") as file:
        file.truncate((disk / "ballast").stat().st_size - 8192)
    for act in (storage.write, storage.append):
        with pytest.raises(OSError, match="No space left on device") as caught:
            act(disk / "a", bytes(10**5))
        assert caught.value.filename == str(disk / "a")
        with pytest.raises(InputError) as refused, files.writing(disk):
            act(disk / "a", bytes(10**5))
        assert str(refused.value).startswith(f"{disk} cannot be written to: No space left on device (free some space)")
        assert storage.read(disk / "a") == b"old"
    assert sorted(path.name for path in disk.iterdir()) == ["a", "ballast"]
    fill()
    storage.append(disk / "a", bytes(10**5))
    assert storage.read(disk / "a") == b"old" + bytes(10**5)


IN_ONE_PROCESS = """
import sys
from etils import epath
assert epath.Path(sys.argv[1]).exists()
from diffenc_jax.core.buckets import as_path
from diffenc_jax.runs import storage
folder = as_path(sys.argv[2])
storage.write(folder / "x", b"1")
assert epath.Path(str(folder / "x")).read_bytes() == b"1"
assert "tensorflow" not in sys.modules
"""


def test_a_bucket_is_opened_by_gcsfs_although_a_local_path_was_opened_first(bucket, tmp_path):
    """As in a notebook that trains in a local workdir and then in a bucket."""
    python("-c", IN_ONE_PROCESS, tmp_path, bucket.folder)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lock, "GONE_SECONDS", 0.4)


@pytest.fixture
def patient(quick, monkeypatch):
    monkeypatch.setattr(lock, "GONE_SECONDS", 60.0)


def holder_elsewhere(workdir):
    """A lock that a process of another machine has left."""
    storage.write(workdir / LOCK, b"process 12 on vm-7")


def test_a_second_process_is_refused_until_the_lock_is_released(bucket, quick, tmp_path):
    for folder in (bucket.folder, tmp_path):
        with locked(folder) as held:
            with pytest.raises(InUse, match=f"another process trains in {folder}.*; wait for it"):
                locked(folder, wait=False).__enter__()
            held.check()
        with locked(folder) as held:
            held.check()
    assert storage.glob(bucket.folder, "*") == []


def test_a_silent_holder_is_replaced_and_notices_it(bucket, quick):
    holder_elsewhere(bucket.folder)
    with locked(bucket.folder) as held:
        held.check()
        holder_elsewhere(bucket.folder)
        with pytest.raises(RunError, match=r"another process trains in .*: this process was silent for more than 0 s"):
            held.check()
    assert storage.read(bucket.folder / LOCK) == b"process 12 on vm-7"


def test_a_holder_that_gives_signs_of_life_is_not_replaced(bucket, patient, monkeypatch):
    """It does while the other process waits."""
    holder_elsewhere(bucket.folder)
    monkeypatch.setattr(lock, "time", SimpleNamespace(sleep=lambda _: holder_elsewhere(bucket.folder)))
    with pytest.raises(InputError, match=r"\(process 12 on vm-7\)"), locked(bucket.folder):
        pass


@pytest.mark.slow
def test_one_of_many_gets_the_lock_although_requests_fail(bucket, patient):
    bucket.faults = Faults(share=0.05)
    everyone = threading.Barrier(4)

    def hold(_):
        with suppress(InputError), locked(bucket.folder) as held:
            everyone.wait(60)
            held.check()
            return True
        everyone.wait(60)
        return False

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(hold, range(4))) == [False, False, False, True]
