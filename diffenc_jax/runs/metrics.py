"""Metrics of a run: metrics.jsonl, one object {"step": .., name: value, ..} per line."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.parallel import hosts
from diffenc_jax.runs.files import read_if_present, write_text

METRICS_FILE = "metrics.jsonl"
TOTAL = "_total"  # ending of the name of a split's bits/dim
TAIL = 2**14  # bytes that hold the newest rows
LARGEST = float(np.finfo(np.float32).max)  # of finite metrics, which are computed in float32
Row = dict[str, float]


def read_metrics(workdir: Path) -> list[Row]:
    """Rows of a workdir's metrics, empty without a file; unreadable lines are skipped. Raises InputError."""
    return read_metrics_and_lost(workdir)[0]


def read_metrics_and_lost(workdir: Path) -> tuple[list[Row], int]:
    """`read_metrics`, and the number of lines that are unreadable, such as one that a crash cut short."""
    return _parse(read_if_present(workdir / METRICS_FILE).decode(errors="replace"))


def newest_metrics(workdir: Path) -> tuple[int, float | None]:
    """The newest step in a workdir's metrics and the newest training bits/dim, from the end of the file.

    (0, None) without rows, or if the file cannot be read.
    """
    try:
        with (workdir / METRICS_FILE).open("rb") as file:
            file.seek(-min(TAIL, file.seek(0, os.SEEK_END)), os.SEEK_END)
            rows, _ = _parse(file.read().decode(errors="replace"))
    except OSError:
        rows = []
    bits = [row["bpd"] for row in rows if "bpd" in row]
    return int(rows[-1]["step"]) if rows else 0, bits[-1] if bits else None


def _parse(text: str) -> tuple[list[Row], int]:
    """Rows of a text, and the number of its lines that are unreadable."""
    lines = [line for line in text.splitlines() if line.strip()]
    rows = [row for line in lines if (row := _parse_row(line)) is not None]
    return rows, len(lines) - len(rows)


def _parse_row(line: str) -> Row | None:
    """A row; None for a line that no run has written."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not all(isinstance(value, int | float) for value in row.values()):
        return None
    step, sizes = row.get("step"), [abs(value) for value in row.values()]
    is_written = type(step) is int and 0 <= step < 2**31 and not any(LARGEST < size < math.inf for size in sizes)
    return row if is_written and len(row) > 1 else None


def evaluated_bpd(workdir: Path) -> dict[int, float]:
    """Bits/dim by step of the evaluations during training."""
    rows = read_metrics(workdir)
    return {row["step"]: value for row in rows for name, value in row.items() if name.endswith(TOTAL)}


class MetricsFile:
    """Append-only writer of metrics.jsonl, which only the first host writes.

    A resumed run repeats the steps after its last checkpoint. Rows beyond its first step are therefore dropped when
    the file is opened, and rows that are in the file already are not appended again.
    """

    def __init__(self, workdir: Path, start: int):
        """Open the metrics of a run that continues from step `start`."""
        self._path = workdir / METRICS_FILE
        rows = [row for row in read_metrics(workdir) if row["step"] <= start]
        self._written = set(map(_key, rows))
        self._pending: list[str] = []
        if hosts.is_first() and self._path.exists():
            write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))

    def is_new(self, step: int, values: Row) -> bool:
        """Whether this host is to append these values of `step`."""
        return hosts.is_first() and _key({"step": step, **values}) not in self._written

    def append(self, step: int, values: Row) -> None:
        """Append a row if it is new. Raises OSError if it cannot be written; the next call then writes it as well."""
        if not self.is_new(step, values):
            return
        self._pending.append(json.dumps({"step": step, **values}) + "\n")
        size = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("a") as file:
                file.writelines(self._pending)
        except OSError:  # remove a part that was written
            if self._path.exists():
                os.truncate(self._path, size)
            raise
        self._pending.clear()


def _key(row: dict[str, Any]) -> tuple[float, str]:
    """Key of a row: its step and the name of its first value, which differs between training and evaluation."""
    return row["step"], next(name for name in row if name != "step")
