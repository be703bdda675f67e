"""The run's metrics: metrics.jsonl, and the same in TensorBoard's files through CLU."""

import json
from pathlib import Path

from clu import asynclib

from diffenc_jax import hosts
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

    def __enter__(self) -> "MetricsWriter":
        rows = [row for row in metrics(self._workdir) if row["step"] <= self._start]
        self._written = set(map(_key, rows))
        if self._main and self._path.exists():
            replace(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.close()
        if self._curves is not None:
            self._curves.close()

    def write(self, step: int, scalars: Row) -> None:
        """One object of metrics.jsonl, and a point of each curve, by the first host."""
        row = {"step": step, **scalars}
        if _key(row) in self._written or not self._main:
            return
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self._thread(self._draw)(step, scalars)

    def _draw(self, step: int, scalars: Row) -> None:
        if self._curves is None:
            from clu import metric_writers  # imports TensorFlow: seconds that no step waits for

            self._curves = metric_writers.SummaryWriter(str(self._workdir))
        self._curves.write_scalars(step, scalars)


def _key(row: Row) -> tuple[float, str]:
    """Tells rows apart: the step, and whether they are of training or of a split."""
    return row["step"], next(name for name in row if name != "step")
