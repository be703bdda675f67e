"""The lock of a workdir, which one training process holds at a time: a file on disk, an object in a bucket."""

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import InUse, TakenOver
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import OTHER_WORKDIR

LOCK = ".lock"
# In a bucket: seconds between two signs of life, and of silence after which the holder counts as gone.
BEAT_SECONDS, GONE_SECONDS = 10.0, 60.0


class WorkdirLock:
    """A held lock. A lock on disk cannot be lost, since the system keeps it as long as the process lives."""

    def check(self) -> None:
        """Raise TakenOver if another process has taken the workdir over; call it before anything is written."""


class BucketLock(WorkdirLock):
    """The lock of a workdir in a bucket: an object with a note. Its holder rewrites it every `BEAT_SECONDS`.

    The object is created only if there is none, so that one of several processes succeeds. If it has not changed for
    `GONE_SECONDS`, another process deletes it and creates its own. A holder that had only stalled finds another note.
    """

    def __init__(self, path: Path, note: bytes):
        self._path, self._note = path, note
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock of the workdir", daemon=True)
        self._thread.start()

    def check(self) -> None:
        try:
            is_ours = storage.read(self._path) == self._note
        except FileNotFoundError:
            is_ours = False
        except OSError:  # a bucket that does not answer cannot be written to either
            return
        if not is_ours:
            self._ended.set()
            why = f"this process was silent for more than {GONE_SECONDS:.0f} s"
            ends = "this process ends, and the other one continues from the last checkpoint"
            raise TakenOver(f"another process trains in {self._path.parent}: {why}; {ends}")

    def close(self) -> None:
        """Let others take the lock, unless it is lost."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError, TakenOver):
            self.check()
            storage.delete(self._path)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError, TakenOver):
                self.check()
                storage.write(self._path, self._note)


@contextmanager
def locked(workdir: Path, wait: bool = True) -> Iterator[WorkdirLock]:
    """Hold the lock of `workdir`. The lock of a killed process is free at once; in a bucket, after `GONE_SECONDS`.

    In a bucket it takes time to find out whether a holder lives. Without `wait`, a holder counts as alive if it showed
    a sign of life within the last `GONE_SECONDS`.

    Raises InUse if another process holds it, and OSError if the workdir cannot be written to.
    """
    path = workdir / LOCK
    if is_remote(workdir):
        with closing(_created(path, wait)) as lock:
            yield lock
        return
    try:
        file_lock = FileLock(path).acquire(timeout=0)
    except Timeout as error:
        raise InUse(f"another process trains in {workdir}; wait for it, or {OTHER_WORKDIR}") from error
    with file_lock:
        yield WorkdirLock()


def _created(path: Path, wait: bool) -> BucketLock:
    """Create the object of a lock, in place of one whose holder is silent for `GONE_SECONDS`; InUse if it lives."""
    note = f"process {os.getpid()} on {socket.gethostname()}, {secrets.token_hex(4)}".encode()
    first = None
    while not storage.create(path, note):
        with suppress(FileNotFoundError):  # released meanwhile
            changed = storage.changed(path)
            first, age = first or changed, (_now(path) - changed).total_seconds()
            if age > GONE_SECONDS:
                storage.delete(path)
            elif not wait or changed != first:
                holder = storage.read(path).decode(errors="replace")
                raise InUse(f"another process trains in {path.parent} ({holder}); wait for it, or {OTHER_WORKDIR}")
            else:
                time.sleep(min(BEAT_SECONDS / 5, GONE_SECONDS - age + 1))
    return BucketLock(path, note)


def _now(path: Path) -> datetime:
    """The time by the clock of the bucket, since the clocks of several machines may differ."""
    trial = path.with_name(f"{LOCK}-clock-{secrets.token_hex(4)}")
    storage.write(trial, b"")
    now = storage.changed(trial)
    storage.delete(trial)
    return now
