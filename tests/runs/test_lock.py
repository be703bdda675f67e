"""One process at a time holds a workdir, on disk and in a bucket, where a silent holder is replaced."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import pytest

from diffenc_jax.core.errors import InputError, InUse, RunError
from diffenc_jax.runs import lock, storage
from diffenc_jax.runs.lock import LOCK, locked
from tests.bucket import Faults


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
