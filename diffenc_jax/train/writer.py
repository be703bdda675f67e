"""A run in TensorBoard: curves of its metrics, and pictures of samples."""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import reason
from diffenc_jax.core.text import printable
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import files, storage

FILE_SECONDS = 300.0


class TensorBoardWriter:
    """Writes TensorBoard's files of a run, in a thread of its own; every method returns at once.

    The first host writes them. A failure does not end the run, since metrics.jsonl holds the same values: it is a
    warning on standard error, and the next point opens a new file. A resumed run writes the points after its last
    checkpoint again, in place of which TensorBoard shows the newer ones.

    A file in a bucket exists from the moment on at which it is closed. A new one is begun there every `FILE_SECONDS`
    and at every checkpoint, so that a process that is killed loses no point that a resumed one does not write again.
    """

    def __init__(self, workdir: Path):
        """Nothing is written before the first point."""
        self._workdir, self._thread = workdir, ThreadPoolExecutor(1)
        self._file: EventFile | None = None
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
            except Exception as error:  # noqa: BLE001  of the disk, of a bucket or of a library
                self._file = None
                said = printable(reason(error)[:200])
                if said != self._said:
                    print(f"warning: TensorBoard's files are incomplete: {said}", file=sys.stderr)
                self._said = said

        if hosts.is_first():
            self._thread.submit(attempt)

    def _write(self, step: int, scalars: Mapping[str, float], images: Mapping[str, np.ndarray]) -> None:
        if self._file is None:
            self._file = EventFile(Path(self._spool.name) if self._spool else self._workdir)
            self._opened = time.monotonic()
        self._file.write(step, scalars, images)
        if self._spool is not None and time.monotonic() - self._opened > FILE_SECONDS:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._spool is not None:
            for path in storage.copy_folder(Path(self._spool.name), self._workdir):
                storage.delete(path)


class EventFile:
    """A file of events, which TensorBoard's own library encodes; TensorFlow is not needed."""

    def __init__(self, folder: Path):
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files in the order of their names.
        path = folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter(path.open("xb"))
        self._add(file_version="brain.Event:2")

    def write(self, step: int, scalars: Mapping[str, float], images: Mapping[str, np.ndarray]) -> None:
        """Add numbers and pictures uint8 [h, w, channels] by name."""
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.image import metadata
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb
        from tensorboard.util.tensor_util import make_tensor_proto

        values = [value for name, number in scalars.items() for value in scalar_pb(name, number).value]
        shown = metadata.create_summary_metadata(display_name="", description="")
        for name, image in images.items():
            height, width, _ = image.shape
            png = files.encoded(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image), "PNG")
            content = make_tensor_proto([str(width).encode(), str(height).encode(), png])
            values.append(Summary.Value(tag=name, metadata=shown, tensor=content))
        self._add(step=step, summary=Summary(value=values))
        self._records.flush()

    def close(self) -> None:
        self._records.close()

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
