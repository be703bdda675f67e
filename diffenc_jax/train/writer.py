"""Outputs of a training run: metrics.jsonl, and the writers that `log.writers` names, such as TensorBoard's.

Each is a `MetricWriter` of CLU, whose methods take a step and values by name.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clu.metric_writers import AsyncWriter, MetricWriter, SummaryWriter
from clu.parameter_overview import get_parameter_overview

from diffenc_jax.config import Config, flatten
from diffenc_jax.core.buckets import as_path, is_remote
from diffenc_jax.core.errors import reason, without_exit
from diffenc_jax.core.tensorflow import hide_gpus
from diffenc_jax.core.text import printable
from diffenc_jax.model import Params
from diffenc_jax.runs import storage
from diffenc_jax.runs.metrics import MetricsFile

COPY_SECONDS = 300.0  # between two copies of TensorBoard's files into a bucket


class Writer(MetricWriter):
    """Base class of writers. It writes nothing; a subclass overrides the methods for the values that it writes.

    The methods are called in a thread, with arguments by name.
    """

    def __init__(self, workdir: str):
        """Make a writer for a run in `workdir`, a folder or gs://BUCKET/FOLDER."""

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
    """Writer of TensorBoard's files, by CLU and TensorFlow.

    For a bucket, the files are written to a temporary folder. `flush` copies them as whole files, and
    `write_scalars` calls it every `COPY_SECONDS`.
    """

    def __init__(self, workdir: str):
        hide_gpus()
        self._workdir, self._copied = as_path(workdir), time.monotonic()
        self._spool = tempfile.TemporaryDirectory(prefix="diffenc-log-") if is_remote(workdir) else None
        super().__init__(self._spool.name if self._spool else workdir)

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        super().write_scalars(step, scalars)
        if self._spool and time.monotonic() - self._copied > COPY_SECONDS:
            self.flush()

    def flush(self) -> None:
        super().flush()
        if self._spool:
            storage.copy_folder(Path(self._spool.name), self._workdir)
            self._copied = time.monotonic()

    def close(self) -> None:
        self.flush()
        super().close()
        if self._spool:
            self._spool.cleanup()


class Guard(Writer):
    """Writer that turns the failures of another writer into warnings, since metrics.jsonl holds the same values.

    The other writer is made for its first value, and again after a failure.
    """

    def __init__(self, name: str, make: Callable[[], MetricWriter]):
        """Guard the writer called `name`, which `make` makes."""
        self._name, self._make, self._said = name, make, ""
        self._writer: MetricWriter | None = None

    def call(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Call a method of the other writer; before its first value there is nothing to flush or close."""
        if self._writer is None and method in ("flush", "close"):
            return
        try:
            with without_exit():
                self._writer = self._writer or self._make()
                getattr(self._writer, method)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  of the disk, of a bucket or of a library
            self._writer, said = None, printable(reason(error)[:200])
            if said != self._said:
                print(f"warning: log.writers={self._name} loses values: {said}", file=sys.stderr, flush=True)
            self._said = said


def described(part: Callable[[str], MetricWriter], workdir: Path, config: Config, params: Params) -> MetricWriter:
    """A writer, made by `part`, that has written the configuration and the shapes of the parameters."""
    writer, values = part(str(workdir)), config.to_dict()
    overview = get_parameter_overview(params, include_stats=False)
    texts = {"config": json.dumps(values, indent=2), "parameters": overview}
    writer.write_hparams(flatten(values))
    writer.write_texts(0, {name: f"```\n{text}\n```" for name, text in texts.items()})
    return writer


for _name in MetricWriter.__abstractmethods__:
    setattr(Guard, _name, lambda self, *args, _name=_name, **kwargs: self.call(_name, *args, **kwargs))


class Background(AsyncWriter):
    """CLU's asynchronous writer with a `flush` that does not wait, for example for a copy into a bucket."""

    def flush(self) -> None:
        self._pool(self._writer.flush)()

    def close(self) -> None:
        self._pool(self._writer.close)()
        self._pool.close()
