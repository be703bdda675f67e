"""Training curves in TensorBoard's files."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from diffenc_jax.core.errors import first_line


class TensorBoardWriter:
    """Writes a run's scalars to TensorBoard's files in `workdir`, in a thread of its own.

    A failure does not end the run, since metrics.jsonl holds the same values: it is a warning on standard error, and
    the next point opens a new file.
    """

    def __init__(self, workdir: Path):
        self._workdir = workdir
        self._thread = ThreadPoolExecutor(1)
        self._curves = None

    def __enter__(self) -> "TensorBoardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._submit(self._close)
        self._thread.shutdown()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Add one point to the curve of each name; returns at once."""
        self._submit(lambda: self._write(step, scalars))

    def _submit(self, action: Callable[[], None]) -> None:
        def attempt():
            try:
                action()
            except Exception as error:  # noqa: BLE001  TensorFlow's errors have no common class
                self._curves = None
                print(f"warning: TensorBoard's files are incomplete: {first_line(error)[:200]}", file=sys.stderr)

        self._thread.submit(attempt)

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        if self._curves is None:
            from clu import metric_writers  # imports TensorFlow, which takes seconds

            self._curves = metric_writers.SummaryWriter(str(self._workdir))
        self._curves.write_scalars(step, scalars)

    def _close(self) -> None:
        if self._curves is not None:
            self._curves.close()
