"""The lock of a workdir, which one training process holds at a time: a file on disk, numbered objects in a bucket."""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import InUse, TakenOver
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import OTHER_WORKDIR, parse_json

LOCK = ".lock"
# In a bucket: seconds between two signs of life, and of silence after which the holder counts as gone.
BEAT_SECONDS, GONE_SECONDS = 10.0, 60.0
TURN_SECONDS = 0.5  # between two attempts to take a lock that is held for seconds only


class Claim:
    """A held lock. One on disk cannot be lost, since the system keeps it as long as the process lives."""

    def check(self) -> None:
        """Raise TakenOver if another process has taken the workdir over; call it before anything is written."""


class BucketClaim(Claim):
    """The lock of a workdir in a bucket: the objects .lock/1, .lock/2, ..., one per process that ever held it.

    The object with the highest number says who holds the lock. It is created on condition that there is none, so that
    of several processes one succeeds, and its holder rewrites it every `BEAT_SECONDS`. If it was released, or if it has
    not changed for `GONE_SECONDS`, the next process creates the object with the next number, which tells a holder that
    had only stalled that it is no longer the holder. Objects are never deleted, so a number is never used twice.
    """

    def __init__(self, workdir: Path, number: int, note: dict[str, Any]):
        self._workdir, self._number, self._note = workdir, number, note
        self._ended, self._lost = threading.Event(), False
        self._thread = threading.Thread(target=self._beat, name="lock of the workdir", daemon=True)
        self._thread.start()

    def check(self) -> None:
        with suppress(OSError):  # a bucket that does not answer cannot be written to either
            self._lost = self._lost or storage.exists(_place(self._workdir, self._number + 1))
        if self._lost:
            self._ended.set()
            raise TakenOver(
                f"another process trains in {self._workdir}: this one was silent for more than {GONE_SECONDS:.0f} s; "
                "it ends, and the other one goes on from the last checkpoint"
            )

    def release(self) -> None:
        """Let others take the lock, unless it is lost."""
        self._ended.set()
        self._thread.join()
        if not self._lost:
            with suppress(OSError):
                self._write({**self._note, "released": True})

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS) and not self._lost:
            with suppress(OSError, TakenOver):
                self.check()
                self._write(self._note)

    def _write(self, note: dict[str, Any]) -> None:
        storage.write(_place(self._workdir, self._number), json.dumps(note).encode())


@contextmanager
def locked(workdir: Path, wait: bool = True) -> Iterator[Claim]:
    """Hold the lock of `workdir`. A process that is killed holds it no longer, in a bucket after `GONE_SECONDS`.

    In a bucket it takes time to find out whether the holder lives. Without `wait` one that was alive `GONE_SECONDS` ago
    counts as alive.

    Raises InUse if another process holds it, and OSError if the workdir cannot be written to.
    """
    if is_remote(workdir):
        claim = _claim(workdir, wait)
        try:
            yield claim
        finally:
            claim.release()
        return
    try:
        lock = FileLock(workdir / LOCK).acquire(timeout=0)
    except Timeout as error:
        raise InUse(f"another process trains in {workdir}; wait for it, or {OTHER_WORKDIR}") from error
    with lock:
        yield Claim()


def check_free(workdir: Path) -> None:
    """Raise InUse if another process holds the lock of `workdir`. Other errors are left to `locked`."""
    with suppress(OSError):
        if is_remote(workdir):
            _wait_for_end(workdir, _highest(workdir))
        elif storage.exists(workdir / LOCK):
            with locked(workdir):
                pass


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, once no other process does; raises OSError if it cannot be written to."""
    with ExitStack() as stack:
        while True:
            with suppress(InUse):
                stack.enter_context(locked(folder))
                break
            time.sleep(TURN_SECONDS)
        yield


def _claim(workdir: Path, wait: bool) -> BucketClaim:
    """Take the lock of a workdir in a bucket; raises InUse if another process holds it."""
    while True:
        number = _highest(workdir)
        _wait_for_end(workdir, number, wait)
        note = {"holder": secrets.token_hex(8), "host": socket.gethostname(), "process": os.getpid()}
        if storage.create(_place(workdir, number + 1), json.dumps(note).encode()):
            return BucketClaim(workdir, number + 1, note)


def _wait_for_end(workdir: Path, number: int, wait: bool = True) -> None:
    """Wait until the holder of the lock with this number is gone; raises InUse once it shows that it is not."""
    place = _place(workdir, number)
    first = storage.changed(place) if number else None
    while number:
        note, changed = _read(place), storage.changed(place)
        age = (_now(workdir) - changed).total_seconds()
        if note.get("released") or age > GONE_SECONDS:
            return
        if not wait or changed != first:
            where = f"process {note.get('process')} on {note.get('host')}"
            raise InUse(f"another process trains in {workdir} ({where}); wait for it, or {OTHER_WORKDIR}")
        time.sleep(min(BEAT_SECONDS / 5, GONE_SECONDS - age + 1))


def _highest(workdir: Path) -> int:
    """The highest number of a lock, 0 without one. A listing may be out of date, so the next numbers are tried too."""
    listed = [int(path.name) for path in storage.glob(workdir / LOCK, "*") if path.name.isdecimal()]
    number = max(listed, default=0)
    while storage.exists(_place(workdir, number + 1)):
        number += 1
    return number


def _place(workdir: Path, number: int) -> Path:
    return workdir / LOCK / str(number)


def _read(place: Path) -> dict[str, Any]:
    """The note of a holder; empty if it is damaged."""
    with suppress(ValueError):
        note = parse_json(storage.read(place))
        if isinstance(note, dict):
            return note
    return {}


def _now(workdir: Path) -> datetime:
    """Time by the bucket's clock, since those of several machines may differ."""
    trial = workdir / LOCK / f"clock-{secrets.token_hex(4)}"
    storage.write(trial, b"")
    try:
        return storage.changed(trial)
    finally:
        storage.delete(trial)
