"""Outputs of a training run: metrics.jsonl, and the writers that `log.writers` names, such as TensorBoard's.

Each is a `MetricWriter` of CLU, whose methods take a step and values by name.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clu.metric_writers import AsyncWriter, MetricWriter, MultiWriter, SummaryWriter

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import reason
from diffenc_jax.core.tensorflow import hide_gpus
from diffenc_jax.core.text import printable
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.metrics import MetricsFile

COPY_SECONDS = 300.0  # between two copies of a writer's files into a bucket


class Writer(MetricWriter):
    """Base class of writers. It writes nothing; a subclass overrides the methods for the values that it writes."""

    def __init__(self, folder: str):
        """Write files to `folder`: the workdir or, if that is in a bucket, a folder on disk that is copied to it."""

    def write_summaries(self, step: int, values: Mapping[str, Any], metadata: Any = None) -> None: ...
    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None: ...
    def write_images(self, step: int, images: Mapping[str, Any]) -> None: ...
    def write_videos(self, step: int, videos: Mapping[str, Any]) -> None: ...
    def write_audios(self, step: int, audios: Mapping[str, Any], *, sample_rate: int) -> None: ...
    def write_texts(self, step: int, texts: Mapping[str, str]) -> None: ...
    def write_histograms(self, step: int, arrays: Mapping[str, Any], num_buckets: Any = None) -> None: ...
    def write_hparams(self, hparams: Mapping[str, Any]) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class JsonLines(MetricsFile, Writer):
    """Writer of metrics.jsonl, which holds the scalars."""


class TensorBoard(SummaryWriter):
    """Writer of TensorBoard's files, by CLU and TensorFlow."""

    def __init__(self, folder: str):
        hide_gpus()
        super().__init__(folder)


class Guard(Writer):
    """Writer that turns the failures of another one into warnings, since metrics.jsonl holds the same values.

    The other writer is made when it is first given a value, and made anew after a failure. If the workdir is in a
    bucket, the other writer's files are copied to it by `flush`, and every `COPY_SECONDS`, each one whole.
    """

    def __init__(self, name: str, part: Callable[[str], MetricWriter], workdir: Path):
        """Guard the writer called `name`, which `part` makes for a folder."""
        self._name, self._part, self._workdir = name, part, workdir
        self._spool = tempfile.TemporaryDirectory(prefix="diffenc-log-") if is_remote(workdir) else None
        self._writer: MetricWriter | None = None
        self._copied, self._said = time.monotonic(), ""

    def call(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Call a method of the writer."""
        writes = method not in ("flush", "close")
        try:
            if self._writer is None and writes:
                self._writer = self._part(self._spool.name if self._spool else str(self._workdir))
            if self._writer is not None:
                getattr(self._writer, method)(*args, **kwargs)
            if self._spool and not writes:
                self._copied = time.monotonic()
                storage.copy_folder(Path(self._spool.name), self._workdir)
        except Exception as error:  # noqa: BLE001  of the disk, of a bucket or of a library
            self._writer, said = None, printable(reason(error)[:200])
            if said != self._said:
                print(f"warning: log.writers={self._name} loses values: {said}", file=sys.stderr, flush=True)
            self._said = said
        if self._spool and method == "close":
            self._spool.cleanup()
        elif self._spool and writes and time.monotonic() - self._copied > COPY_SECONDS:
            self.flush()


def _guarded(method: str) -> Callable[..., None]:
    return lambda self, *args, **kwargs: self.call(method, *args, **kwargs)


for _name in MetricWriter.__abstractmethods__:
    setattr(Guard, _name, _guarded(_name))


class Background(AsyncWriter):
    """CLU's asynchronous writer, whose `flush` does not wait, such as for a copy into a bucket."""

    def flush(self) -> None:
        self._pool(self._writer.flush)()

    def close(self) -> None:
        self._pool(self._writer.close)()
        self._pool.close()


def make_writer(workdir: Path, start: int, writers: Mapping[str, Callable[[str], MetricWriter]]) -> MultiWriter:
    """The writer of a run that continues from step `start`, on the first host; on others it writes nothing.

    It writes rows of metrics.jsonl at once, and raises an OSError if that fails. The other `writers`, by name, write in
    threads of their own.
    """
    own = [Guard(name, part, workdir) for name, part in writers.items()] if hosts.is_first() else []
    return MultiWriter([JsonLines(workdir, start), *map(Background, own)])
