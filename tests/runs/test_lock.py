"""One process at a time holds a workdir, on disk and in a bucket, where a silent holder is replaced."""

import threading
import time

import pytest

from diffenc_jax.core.errors import InputError, InUse, RunError
from diffenc_jax.runs import lock, storage
from diffenc_jax.runs.lock import LOCK, check_free, in_turn, locked
from tests.bucket import Faults


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lock, "GONE_SECONDS", 0.4)


@pytest.fixture
def patient(quick, monkeypatch):
    monkeypatch.setattr(lock, "GONE_SECONDS", 60.0)


def holder_elsewhere(workdir, number=1):
    """A lock that a process of another machine has left."""
    assert storage.create(workdir / LOCK / str(number), b'{"holder": "x", "host": "vm-7", "process": 12}')


def test_a_second_process_is_refused_until_the_lock_is_released(bucket, quick, tmp_path):
    for folder in (bucket.folder, tmp_path):
        check_free(folder)
        with locked(folder) as claim:
            for act in (check_free, lambda folder: locked(folder, wait=False).__enter__()):
                with pytest.raises(InUse, match=f"another process trains in {folder}.*; wait for it"):
                    act(folder)
            claim.check()
        check_free(folder)  # without taking it
    assert [path.name for path in storage.glob(bucket.folder / LOCK, "*")] == ["1"]
    with locked(bucket.folder) as claim:
        claim.check()


def test_those_that_wait_their_turn_follow_each_other(bucket, quick, monkeypatch, tmp_path):
    monkeypatch.setattr(lock, "TURN_SECONDS", 0.05)
    for folder in (bucket.folder, tmp_path):
        inside, most = [], []

        def enter(folder=folder, inside=inside, most=most):
            with in_turn(folder):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.2)
                inside.pop()

        threads = [threading.Thread(target=enter) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1, 1, 1]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_silent_holder_is_replaced_and_notices_it(bucket, quick, is_damaged):
    holder_elsewhere(bucket.folder)
    if is_damaged:
        storage.write(bucket.folder / LOCK / "1", b"[")
    with locked(bucket.folder) as claim:
        claim.check()
        holder_elsewhere(bucket.folder, number=3)
        with pytest.raises(RunError, match=r"another process trains in .*: this one was silent for more than 0 s"):
            claim.check()
    assert b"released" not in storage.read(bucket.folder / LOCK / "2")


def test_a_holder_that_gives_signs_of_life_is_not_replaced(bucket, patient):
    holder_elsewhere(bucket.folder)
    place, ended = bucket.folder / LOCK / "1", threading.Event()

    def live():
        while not ended.wait(0.3):
            storage.write(place, storage.read(place))

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(InputError, match=r"\(process 12 on vm-7\)"), locked(bucket.folder):
            pass
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
def test_one_of_many_gets_the_lock_although_requests_fail(bucket, patient):
    bucket.faults = Faults(share=0.05, stale=2.0)
    got, refused, everyone = [], [], threading.Barrier(4)

    def claim():
        try:
            with locked(bucket.folder) as held:
                everyone.wait(60)
                held.check()
                got.append(held)
        except InputError as error:
            refused.append(str(error))
            everyone.wait(60)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)
