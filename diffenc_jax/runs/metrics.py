"""Metrics of a run: metrics.jsonl, one object {"step": .., name: value, ..} per line."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import parse_json, read_if_present

METRICS_FILE = "metrics.jsonl"
TOTAL = "_total"  # ending of the name of a split's bits/dim
WRITE_SECONDS = 30.0  # between two writes in a bucket, where a file can only be replaced
LARGEST = float(np.finfo(np.float32).max)  # of finite metrics, which are computed in float32
Row = dict[str, float]


def read_metrics(workdir: Path) -> list[Row]:
    """Rows of a workdir's metrics, empty without a file. Skips unreadable lines; raises InputError for a file."""
    lines = read_if_present(workdir / METRICS_FILE).split(b"\n")
    return [row for line in lines if (row := _parse_row(line)) is not None]


def _parse_row(line: bytes) -> Row | None:
    """A row; None for a line that no run has written."""
    with suppress(AttributeError, TypeError, ValueError):  # not JSON, or not an object of numbers
        row = parse_json(line)
        step, sizes = row.get("step"), [abs(value) for value in row.values()]
        is_written = type(step) is int and 0 <= step < 2**31 and not any(LARGEST < size < math.inf for size in sizes)
        return row if is_written and len(row) > 1 else None
    return None


def evaluated_bpd(rows: Sequence[Row]) -> dict[int, float]:
    """Bits/dim by step of the evaluations during training, where they are finite, from `read_metrics`."""
    values = ((row["step"], name, value) for row in rows for name, value in row.items())
    return {int(step): value for step, name, value in values if name.endswith(TOTAL) and math.isfinite(value)}


class MetricsFile:
    """Writer of a run's metrics, on the first host only.

    A resumed run repeats the steps after its last checkpoint. Rows beyond its first step are therefore dropped when
    the file is opened, and rows that are in the file already are not written again.
    """

    def __init__(self, workdir: Path, start: int):
        """Open the metrics of a run that continues from step `start`."""
        self._path, self._remote, self._next_write = workdir / METRICS_FILE, is_remote(workdir), 0.0
        rows = [row for row in read_metrics(workdir) if row["step"] <= start]
        self._written = set(map(_key, rows))
        self._old, self._new = b"".join(map(_line, rows)), b""  # content of the file, and lines to add
        if hosts.is_first() and self._old != read_if_present(self._path):
            storage.write(self._path, self._old)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append a row if it is new: to a file on disk at once, in a bucket after `WRITE_SECONDS` or by `flush`.

        The row has the names without the group before a '/': 'train/bpd' becomes 'bpd'. Raises OSError if it cannot be
        written; the next call then writes it as well.
        """
        row = {"step": step, **{name.rpartition("/")[2]: value for name, value in scalars.items()}}
        if not hosts.is_first() or _key(row) in self._written:
            return
        self._new += _line(row)
        if not self._remote or time.monotonic() >= self._next_write:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are not written yet; raises OSError as `write_scalars` does."""
        if not self._new:
            return
        if self._remote:
            self._next_write = time.monotonic() + WRITE_SECONDS
            storage.write(self._path, self._old + self._new)
            self._old += self._new
        else:
            storage.append(self._path, self._new)
        self._new = b""


def _line(row: dict[str, Any]) -> bytes:
    return f"{json.dumps(row)}\n".encode()


def _key(row: dict[str, Any]) -> tuple[float, str]:
    """Key of a row: its step and the name of its first value, which differs between training and evaluation."""
    return row["step"], next(name for name in row if name != "step")
