"""Metrics of a run: metrics.jsonl, one object {"step": .., name: value, ..} per line.

An object of a bucket can only be replaced. In a bucket the rows are therefore divided into files of limited size,
metrics.jsonl, metrics.1.jsonl, ..., of which the last one is replaced now and then.
"""

import hashlib
import itertools
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import opened_if_present, parse_json, sha256_of

METRICS_FILE = "metrics.jsonl"
_NAME = re.compile(r"metrics(?:\.(\d+))?\.jsonl")  # of a file of metrics, with its number from 1 on
METRICS_BYTES, ROW_BYTES = 2**32, 2**14  # no file of metrics, and no row, is larger
TOTAL = "_total"  # ending of the name of a split's bits/dim
TAIL = 2**14  # bytes that hold the newest rows
ROWS_PER_OBJECT, SECONDS_PER_OBJECT = 1000, 30.0  # in a bucket: rows of a file, and seconds between two writes
LARGEST = float(np.finfo(np.float32).max)  # of finite metrics, which are computed in float32
Row = dict[str, float]


def read_metrics(workdir: Path) -> list[Row]:
    """Rows of a workdir's metrics, empty without a file; unreadable lines are skipped. Raises InputError."""
    return read_metrics_and_lost(workdir)[0]


def read_metrics_and_lost(workdir: Path) -> tuple[list[Row], int]:
    """`read_metrics`, and the number of lines that are unreadable, such as one that a crash cut short."""
    parts = _read_parts(workdir)
    return [row for part in parts for row in part.rows], sum(part.lost for part in parts)


def newest_metrics(workdir: Path) -> tuple[int, float | None]:
    """The newest step in a workdir's metrics and the newest training bits/dim, from the end of the last file.

    (0, None) without rows, or if the file cannot be read.
    """
    try:
        numbers = [_NAME.fullmatch(path.name) for path in storage.glob(workdir, "metrics*.jsonl")]
        last = max((int(match[1] or 0) for match in numbers if match), default=0)
        content = storage.tail(next(itertools.islice(_names(workdir), last, None)), TAIL)
    except OSError:
        content = b""
    rows = [row for line in content.splitlines() if (row := _parse_row(line)) is not None]
    bits = [row["bpd"] for row in rows if "bpd" in row]
    return int(rows[-1]["step"]) if rows else 0, bits[-1] if bits else None


def _names(workdir: Path) -> Iterator[Path]:
    """Paths of the files of metrics that a workdir may hold, without end."""
    yield workdir / METRICS_FILE
    for number in itertools.count(1):
        yield workdir / f"metrics.{number}.jsonl"


class _Part(NamedTuple):
    """A file of metrics: its rows, the number of its other lines, and the SHA-256 digest of its content."""

    path: Path
    rows: list[Row]
    lost: int
    digest: str


def _read_parts(workdir: Path) -> list[_Part]:
    """The files of metrics. They are found by their names, as a listing may be out of date."""
    return list(itertools.takewhile(lambda part: part.rows or part.lost, map(_read_part, _names(workdir))))


def _read_part(path: Path) -> _Part:
    rows, lost, digest = [], 0, hashlib.sha256()
    with opened_if_present(path, "delete it, which loses only the curves", METRICS_BYTES) as file:
        is_begun = False  # whether `line` goes on with a line that is longer than a row
        while line := file.readline(ROW_BYTES):
            digest.update(line)
            row = None if is_begun else _parse_row(line)
            if row is not None:
                rows.append(row)
            elif not is_begun and line.strip():
                lost += 1
            is_begun = not line.endswith(b"\n")
    return _Part(path, rows, lost, digest.hexdigest())


def _parse_row(line: bytes) -> Row | None:
    """A row; None for a line that no run has written."""
    try:
        row = parse_json(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not all(isinstance(value, int | float) for value in row.values()):
        return None
    step, sizes = row.get("step"), [abs(value) for value in row.values()]
    is_written = type(step) is int and 0 <= step < 2**31 and not any(LARGEST < size < math.inf for size in sizes)
    return row if is_written and len(row) > 1 else None


def evaluated_bpd(workdir: Path) -> dict[int, float]:
    """Bits/dim by step of the evaluations during training."""
    rows = read_metrics(workdir)
    return {int(row["step"]): value for row in rows for name, value in row.items() if name.endswith(TOTAL)}


def training_seconds(rows: Sequence[Row], batch_size: int) -> dict[int, float]:
    """Seconds of training until each step that has its pace in the metrics, from step 0 on.

    They are without evaluations, saving and sampling. Until the first step with a pace, training counts as that fast,
    and so does what follows a resumption, as compiling is no training.
    """
    seconds, last = {0: 0.0}, 0
    for row in rows:
        if row.get("images_per_second", 0) > 0:
            step = int(row["step"])
            seconds[step] = seconds[last] + (step - last) * batch_size / row["images_per_second"]
            last = step
    return seconds


class MetricsFile:
    """Writer of a run's metrics, on the first host only.

    A resumed run repeats the steps after its last checkpoint. Rows beyond its first step are therefore dropped when
    the file is opened, and rows that are in the file already are not written again.
    """

    def __init__(self, workdir: Path, start: int):
        """Open the metrics of a run that continues from step `start`."""
        self._workdir, self._remote = workdir, is_remote(workdir)
        parts = _read_parts(workdir)
        rows = [row for part in parts for row in part.rows if row["step"] <= start]
        self._written = set(map(_key, rows))
        # The lines that `flush` writes: those to append on disk, or those of the last file in a bucket.
        self._lines: list[str] = []
        self._number, self._is_written, self._next_write = 0, True, time.monotonic()
        if hosts.is_first():
            self._rewrite(parts, [json.dumps(row) + "\n" for row in rows])

    def is_new(self, step: int, values: Row) -> bool:
        """Whether this host is to write these values of `step`."""
        return hosts.is_first() and _key({"step": step, **values}) not in self._written

    def append(self, step: int, values: Row) -> None:
        """Append a row if it is new: to a file on disk at once, in a bucket within `SECONDS_PER_OBJECT` or by `flush`.

        Raises OSError if it cannot be written; the next call then writes it as well.
        """
        if not self.is_new(step, values):
            return
        self._lines.append(json.dumps({"step": step, **values}) + "\n")
        self._is_written = False
        if not self._remote or time.monotonic() >= self._next_write:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are not written yet; raises OSError as `append` does."""
        if self._is_written:
            return
        if self._remote:
            self._next_write = time.monotonic() + SECONDS_PER_OBJECT
            while len(self._lines) > ROWS_PER_OBJECT:
                storage.write(self._name(self._number), "".join(self._lines[:ROWS_PER_OBJECT]).encode())
                self._number, self._lines = self._number + 1, self._lines[ROWS_PER_OBJECT:]
            storage.write(self._name(self._number), "".join(self._lines).encode())
        else:
            storage.append(self._name(0), "".join(self._lines).encode())
            self._lines.clear()
        self._is_written = True

    def _rewrite(self, parts: list[_Part], lines: list[str]) -> None:
        """Make the files, which are `parts`, hold `lines`: those that they hold without some."""
        size = ROWS_PER_OBJECT if self._remote else max(len(lines), 1)
        wanted = ["".join(lines[at : at + size]).encode() for at in range(0, len(lines), size)]
        for number, part in reversed(list(enumerate(parts))):
            if number >= len(wanted):
                storage.delete(part.path)
            elif part.digest != sha256_of(wanted[number]):
                storage.write(part.path, wanted[number])
        if self._remote and wanted:
            self._number = len(wanted) - 1
            self._lines = lines[self._number * size :]

    def _name(self, number: int) -> Path:
        return next(itertools.islice(_names(self._workdir), number, None))


def _key(row: dict[str, Any]) -> tuple[float, str]:
    """Key of a row: its step and the name of its first value, which differs between training and evaluation."""
    return row["step"], next(name for name in row if name != "step")
