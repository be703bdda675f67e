"""The log of a job: the output of its processes, on disk or in a bucket."""

import fcntl
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import InputError, InUse, TakenOver
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import read_if_present
from diffenc_jax.runs.lock import locked

SAVE_SECONDS = 60.0  # between two copies of a log into a bucket
MOST = 2**24  # bytes of a log in a bucket; the end of a longer one is kept


class JobLog:
    """A file to which the processes of one job write.

    A second process of a job never starts beside the first, since the log is locked. On disk it stays locked as long as
    a process of the job has it open, even if the parent of the first was killed.

    Attributes:
      file: the open file.
    """

    def __init__(self, path: Path):
        """Open the log, to append to it; raises InUse if another process has locked it."""
        storage.make_folder(path.parent)
        self.file = path.open("ab")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.close()
            raise InUse(f"another process writes {path}; wait for it") from error
        self._local = path

    def save(self) -> None:
        """Copy a log on this machine into its bucket now and then."""

    def last_line(self) -> str:
        """The last line that is not empty."""
        lines = storage.tail(self._local, 2**16).decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")

    def close(self) -> None:
        """Close and unlock the log."""
        self.file.close()


class BucketLog(JobLog):
    """A log in a bucket, locked by this process: a file on this machine, of which a copy is written to the bucket."""

    def __init__(self, path: Path):
        self._path, self._next_save = path, 0.0
        with ExitStack() as stack:
            self._claim = stack.enter_context(locked(path.parent / path.stem, wait=False))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="diffenc-log-"))
            self._local = Path(folder) / path.name
            self._local.touch()
            with suppress(InputError):  # a log that cannot be read ends no job
                self._local.write_bytes(read_if_present(path, MOST))
            self._saved_size = self._local.stat().st_size
            self.file = stack.enter_context(self._local.open("ab"))
            self._stack = stack.pop_all()

    def save(self) -> None:
        if time.monotonic() >= self._next_save:
            self._next_save = time.monotonic() + SAVE_SECONDS
            self._copy()

    def close(self) -> None:
        with self._stack:
            self._copy()

    def _copy(self) -> None:
        size = self._local.stat().st_size
        if size != self._saved_size:
            # Neither a bucket that does not answer nor another process that writes the log ends the job.
            with suppress(OSError, TakenOver):
                self._claim.check()
                storage.write(self._path, storage.tail(self._local, MOST))
                self._saved_size = size


def open_log(path: Path) -> JobLog:
    """The log of a job at `path`; raises InUse if another process has locked it."""
    return BucketLog(path) if is_remote(path) else JobLog(path)
