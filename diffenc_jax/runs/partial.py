"""An unfinished evaluation: its values so far, kept on disk so that an interrupted evaluation can be resumed."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import check_writable, read_arrays, read_if_present, write_arrays

# Seconds between two saves, or this many times the seconds that the last one took.
SAVE_SECONDS, SAVE_PAUSE = 30.0, 20.0
TABLE = "table."


class PartialEvaluation:
    """Values [passes, images] by name of one evaluation, of which some are missing (NaN).

    They are saved beside the record that they will become, every half minute and when an exception ends the
    evaluation.

    Attributes:
      values: the values by name.
      seconds: time that earlier processes spent on this evaluation.
    """

    def __init__(self, shape: tuple[int, int], record: Path | None = None):
        """Prepare an evaluation of `shape` (passes, images) for the file `record`; None keeps nothing on disk."""
        self.values: dict[str, np.ndarray] = {}
        self.seconds = 0.0
        self._shape, self._path = shape, record and record.with_suffix(".partial.npz")
        self._pause = SAVE_SECONDS
        self._is_whole = True  # False while values are stored, which a signal may interrupt
        self._tables: dict[str, np.ndarray] | None = None
        self._started = self._saved = time.perf_counter()

    def __enter__(self) -> "PartialEvaluation":
        """Load what an earlier process saved, unless it is damaged. Raises InputError if nothing can be written."""
        if self._path is None:
            return self
        if hosts.is_first():
            check_writable(self._path.parent)
        arrays = read_arrays(hosts.broadcast(read_if_present(self._path) if hosts.is_first() else b""))
        if arrays is None:
            return self
        self.seconds = float(arrays.pop("seconds"))
        self._tables = {key.removeprefix(TABLE): a for key, a in arrays.items() if key.startswith(TABLE)}
        self.values = {key: a for key, a in arrays.items() if not key.startswith(TABLE)}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        try:
            self._save()
        except OSError:
            if not issubclass(kind, OSError):  # the disk that is full is known already
                raise

    def tables(self, make: Callable[[], dict[str, jax.Array]]) -> dict[str, jax.Array]:
        """The tables that the values so far were computed with, or those that `make` returns."""
        if self._tables is None:
            self._tables = {name: hosts.all_gather(table) for name, table in make().items()}
        return {name: jnp.asarray(table) for name, table in self._tables.items()}

    def has(self, number: int, rows: np.ndarray) -> bool:
        """Whether the values of pass `number` are known for all images `rows`."""
        return bool(self.values) and not any(np.isnan(a[number, rows]).any() for a in self.values.values())

    def put(self, number: int, rows: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """Store the values [len(rows)] of pass `number` for the images `rows`."""
        self._is_whole = False
        for name, value in values.items():
            self.values.setdefault(name, np.full(self._shape, np.nan))[number, rows] = value
        self._is_whole = True
        if time.perf_counter() - self._saved > self._pause:
            # On a disk that is full the record could not be written either; a bucket may answer again until then.
            with suppress(*[OSError] * is_remote(self._path or "")):
                self._save()

    def finish(self) -> None:
        """Delete the file, after the record has been written."""
        if self._path is not None and hosts.is_first():
            storage.delete(self._path)

    def _save(self) -> None:
        self._saved = start = time.perf_counter()
        if self._path is None or not self.values or not self._is_whole or not hosts.is_first():
            return
        tables = {TABLE + name: table for name, table in (self._tables or {}).items()}
        seconds = np.asarray(self.seconds + self._saved - self._started)
        arrays = {"seconds": seconds, **self.values, **tables}
        write_arrays(self._path, **arrays)
        self._pause = max(SAVE_SECONDS, SAVE_PAUSE * (time.perf_counter() - start))
