"""A run in TensorBoard: curves, pictures, hyperparameters, and the configuration and the parameters as text."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from diffenc_jax.config import Config
from diffenc_jax.config.config import flatten
from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.errors import reason
from diffenc_jax.core.text import printable
from diffenc_jax.model import Params
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import list_paths
from diffenc_jax.runs.record_types import TOTAL, Errors, Record
from diffenc_jax.train.step import learning_rate

if TYPE_CHECKING:
    from clu.metric_writers import MetricWriter

FILE_SECONDS = 300.0
EVENT_BYTES = 2**27  # no event is larger
HPARAMS = "_hparams_/session_start_info"  # the name under which CLU writes hyperparameters
Point = tuple[str, int]  # name and step


class TensorBoardWriter:
    """Writes TensorBoard's files of a run through CLU, in a thread of its own; every method returns at once.

    A failure does not end the run, since metrics.jsonl holds the same values: it is a warning on standard error, and
    the next point opens a new file. Points that the files of an interrupted run hold are not written again.

    A file in a bucket, or on a bucket that is mounted as a folder, exists from the moment on at which it is closed.
    There a new one is begun every `FILE_SECONDS` and at every checkpoint, so that a process that is killed loses no
    point that a resumed one does not write again.
    """

    def __init__(self, workdir: Path, config: Config, params: Params, start: int = 0):
        """Nothing is written before the first point.

        Args:
          workdir: folder of the run.
          config: the run's configuration.
          params: its parameters, or their ShapeDtypeStructs.
          start: the step that the run continues from.
        """
        self._workdir, self._config, self._params, self._start = workdir, config, params, start
        self._learning_rate = learning_rate(config.train)
        self._thread = ThreadPoolExecutor(1)
        self._file: MetricWriter | None = None
        self._said = ""  # the last warning
        self._known: set[Point] = set()
        self._is_begun = False
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

    def write_training(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add the metrics of a step, 'train/<name>', and its learning rate."""

        def write():
            values = {**scalars, "learning_rate": float(self._learning_rate(step - 1))}
            self._write("scalars", step, {f"train/{name}": value for name, value in values.items()})

        self._submit(write)

    def write_evaluation(self, step: int, record: Record, pictures: Mapping[str, np.ndarray]) -> None:
        """Add the bits/dim of a record by term, with their standard errors, and pictures uint8 [h, w, channels].

        Their names are 'eval/<split>_<term>', 'eval/<split>_<term>_se_noise', 'eval/<split>_<term>_se_images', if they
        can be estimated, and 'eval/<picture>'.
        """

        def write():
            self._write("scalars", step, {f"eval/{name}": value for name, value in with_errors(record).items()})
            self._write("images", step, {f"eval/{name}": picture for name, picture in pictures.items()})

        self._submit(write)

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

        self._thread.submit(attempt)

    def _write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add the new ones of `values`, by the writer's method write_<kind>, and make the file hold them."""
        file = self._open()
        new = {name: value for name, value in values.items() if (name, step) not in self._known}
        getattr(file, f"write_{kind}")(step, new)
        file.flush()
        if self._spool and time.monotonic() - self._opened > FILE_SECONDS:
            self._close()

    def _open(self) -> "MetricWriter":
        """The open file. The first one begins with what describes the run."""
        if self._file is None:
            from clu import metric_writers  # imports TensorFlow, which takes seconds

            self._file = metric_writers.SummaryWriter(self._spool.name if self._spool else str(self._workdir))
            self._opened = time.monotonic()
            if not self._is_begun:
                self._known, self._is_begun = known_points(self._workdir), True
                self._describe(self._file)
        return self._file

    def _describe(self, file: "MetricWriter") -> None:
        from clu import parameter_overview

        if (HPARAMS, 0) not in self._known:
            file.write_hparams(hyperparameters(self._config))
        texts = {
            "configuration": json.dumps(self._config.to_dict(), indent=2),
            "parameters": parameter_overview.get_parameter_overview(self._params, include_stats=False),
        }
        self._write("texts", self._start, {name: f"```\n{text}\n```" for name, text in texts.items()})

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._spool is not None:
            for path in storage.copy_folder(Path(self._spool.name), self._workdir):
                storage.delete(path)


def with_errors(record: Record) -> dict[str, float]:
    """The bits/dim of a record and their standard errors over noise and over images, where they can be estimated."""
    split, errors = record["dataset"]["split"], record["standard_error"]
    values: dict[str, float | None] = {}
    for term, bpd in record["bpd"].items():
        values[f"{split}_{term}"] = bpd
        of_term: Errors = errors if term == TOTAL else errors["terms"][term]
        values[f"{split}_{term}_se_noise"] = of_term["noise"]
        values[f"{split}_{term}_se_images"] = of_term["images"]
    return {name: value for name, value in values.items() if value is not None}


def hyperparameters(config: Config) -> dict[str, bool | int | float | str]:
    """Values of the configuration by key, except for lists and None."""
    values = flatten(config.to_dict())
    return {key: value for key, value in values.items() if isinstance(value, bool | int | float | str)}


def known_points(workdir: Path) -> set[Point]:
    """The points that TensorBoard's files in `workdir` hold."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    points = set()
    for path in list_paths(workdir, "events.out.tfevents.*"):
        with storage.opened(path) as file, suppress(DecodeError):
            for content in _event_records(file):
                event = Event.FromString(content)
                points |= {(value.tag, event.step) for value in event.summary.value}
    return points


def _event_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a file of events, up to the first one that is cut short or longer than any event.

    TensorFlow's reader believes the length that a damaged record states, and can end the process.
    """
    while len(head := file.read(12)) == 12:  # 8 bytes of length, and a checksum of them
        size = int.from_bytes(head[:8], "little")
        content = file.read(size) if size <= EVENT_BYTES else b""
        if not content or len(content) < size or len(file.read(4)) < 4:
            return
        yield content
