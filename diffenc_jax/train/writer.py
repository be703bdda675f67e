"""The run's metrics: metrics.jsonl, and the same in TensorBoard's files through CLU."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clu import asynclib

from diffenc_jax import hosts
from diffenc_jax.errors import first_line
from diffenc_jax.workdir import METRICS_FILE, Row, metrics, replace


class MetricsWriter:
    """Appends objects {"step": .., name: value, ..} to a workdir's metrics.jsonl.

    A resumed run writes what it wrote before it stopped once again: what lies beyond its first
    step is dropped on opening, and what is there already is not repeated.
    """

    def __init__(self, workdir: Path, start: int):
        self._workdir, self._start = workdir, start
        self._path = workdir / METRICS_FILE
        self._main = hosts.is_first()
        self._curves, self._thread = None, asynclib.Pool("curves", max_workers=1)
        self._unwritten: list[str] = []

    def __enter__(self) -> "MetricsWriter":
        rows = [row for row in metrics(self._workdir) if row["step"] <= self._start]
        self._written = set(map(_key, rows))
        if self._main and self._path.exists():
            replace(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        return self

    def __exit__(self, *_: object) -> None:
        self._thread(self._close)()
        self._thread.close()

    def write(self, step: int, scalars: Row) -> None:
        """One object of metrics.jsonl, and a point of each curve, by the first host.

        Raises OSError where it cannot be written; it is then written with the next.
        """
        row = {"step": step, **scalars}
        if _key(row) in self._written or not self._main:
            return
        self._thread(self._draw)(step, scalars)
        self._unwritten.append(json.dumps(row) + "\n")
        self._append()

    def _append(self) -> None:
        """All lines that are to be written, or none."""
        size = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("a") as file:
                file.writelines(self._unwritten)
        except OSError:
            if self._path.exists():
                os.truncate(self._path, size)
            raise
        self._unwritten.clear()

    def _draw(self, step: int, scalars: Row) -> None:
        with self._given_up():
            if self._curves is None:
                from clu import metric_writers  # imports TensorFlow: seconds that no step waits for

                self._curves = metric_writers.SummaryWriter(str(self._workdir))
            self._curves.write_scalars(step, scalars)

    def _close(self) -> None:
        with self._given_up():
            if self._curves is not None:
                self._curves.close()

    @contextmanager
    def _given_up(self) -> Iterator[None]:
        """What cannot be written for TensorBoard ends no run: metrics.jsonl has it. The next point opens a new file."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever TensorFlow comes to
            self._curves = None
            print(f"TensorBoard's files lack what metrics.jsonl has: {first_line(error)[:200]}", file=sys.stderr)


def _key(row: Row) -> tuple[float, str]:
    """Tells rows apart: the step, and whether they are of training or of a split."""
    return row["step"], next(name for name in row if name != "step")
