"""A run in TensorBoard: curves of its metrics, and pictures of samples."""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import reason
from diffenc_jax.core.text import printable
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage

if TYPE_CHECKING:
    from clu.metric_writers import MetricWriter

FILE_SECONDS = 300.0


class TensorBoardWriter:
    """Writes TensorBoard's files of a run through CLU, in a thread of its own; every method returns at once.

    The first host writes them. A failure does not end the run, since metrics.jsonl holds the same values: it is a
    warning on standard error, and the next point opens a new file. A resumed run writes the points after its last
    checkpoint again, in place of which TensorBoard shows the newer ones.

    A file in a bucket exists from the moment on at which it is closed. A new one is begun there every `FILE_SECONDS`
    and at every checkpoint, so that a process that is killed loses no point that a resumed one does not write again.
    """

    def __init__(self, workdir: Path):
        """Nothing is written before the first point."""
        self._workdir, self._thread = workdir, ThreadPoolExecutor(1)
        self._file: MetricWriter | None = None
        self._said = ""  # the last warning
        self._opened = time.monotonic()
        self._spool = tempfile.TemporaryDirectory() if is_remote(workdir) else None  # files are made here and copied

    def __enter__(self) -> "TensorBoardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._submit(self._close)
        self._thread.shutdown()
        if self._spool is not None:
            self._spool.cleanup()

    def begin_file(self) -> None:
        """Close the file in a bucket, before a checkpoint is saved."""
        if self._spool is not None:
            self._submit(self._close)

    def write(self, step: int, scalars: Mapping[str, float], images: Mapping[str, np.ndarray]) -> None:
        """Add numbers and pictures uint8 [h, w, channels] by name."""
        self._submit(lambda: self._write(step, scalars, images))

    def _submit(self, action: Callable[[], None]) -> None:
        def attempt():
            try:
                action()
            except Exception as error:  # noqa: BLE001  TensorFlow's errors have no common class
                self._file = None
                said = printable(reason(error)[:200])
                if said != self._said:
                    print(f"warning: TensorBoard's files are incomplete: {said}", file=sys.stderr)
                self._said = said

        if hosts.is_first():
            self._thread.submit(attempt)

    def _write(self, step: int, scalars: Mapping[str, float], images: Mapping[str, np.ndarray]) -> None:
        if self._file is None:
            from clu import metric_writers  # imports TensorFlow, which takes seconds

            self._file = metric_writers.SummaryWriter(self._spool.name if self._spool else str(self._workdir))
            self._opened = time.monotonic()
        self._file.write_scalars(step, scalars)
        self._file.write_images(step, images)
        self._file.flush()
        if self._spool is not None and time.monotonic() - self._opened > FILE_SECONDS:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._spool is not None:
            for path in storage.copy_folder(Path(self._spool.name), self._workdir):
                storage.delete(path)
