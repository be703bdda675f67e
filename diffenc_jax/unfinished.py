"""An evaluation on its way: its values so far, kept on disk so that it goes on where it stopped."""

import hashlib
import io
import json
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax import hosts
from diffenc_jax.workdir import check_writable, whole_file

SAVE_SECONDS = 30.0
TABLE = "table."


class Unfinished:
    """The values of one evaluation, [passes, images] by name, of which some are still to come.

    They are saved every half a minute and when an exception ends the evaluation, beside the record
    that it is to become, under a name that holds a digest of what is evaluated: another evaluation
    neither uses nor disturbs them.
    """

    def __init__(self, record: Path, description: dict[str, Any]):
        """`description`: of all that the values depend on."""
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:12]
        self._path = record.with_suffix(f".{digest}.unfinished.npz")
        self.shape: tuple[int, int] | None = None
        self.values: dict[str, np.ndarray] = {}
        self.seconds = 0.0  # spent before this process
        self._tables: dict[str, np.ndarray] | None = None
        self._started = self._saved = time.perf_counter()

    def __enter__(self) -> "Unfinished":
        """Takes up what is there; what cannot be read is begun anew. Raises InputError if nothing can be written."""
        if hosts.is_first():
            check_writable(self._path.parent)
        arrays = read_arrays(hosts.told(_bytes(self._path)))
        if arrays is None or "seconds" not in arrays:
            return self
        self.seconds = float(arrays.pop("seconds"))
        self._tables = {key.removeprefix(TABLE): a for key, a in arrays.items() if key.startswith(TABLE)}
        self.values = {key: a for key, a in arrays.items() if not key.startswith(TABLE)}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._save()

    def tables(self, make: Callable[[], dict[str, jax.Array]]) -> dict[str, jax.Array]:
        """The tables that the values so far were made with, or new ones."""
        if self._tables is None:
            self._tables = {name: hosts.whole(table) for name, table in make().items()}
        return {name: jnp.asarray(table) for name, table in self._tables.items()}

    def has(self, number: int, rows: np.ndarray) -> bool:
        """Whether the values of pass `number` for the images `rows` are there."""
        return bool(self.values) and not any(np.isnan(a[number, rows]).any() for a in self.values.values())

    def put(self, number: int, rows: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """Takes the values [len(rows)] of pass `number` for the images `rows`."""
        for name, value in values.items():
            self.values.setdefault(name, np.full(self.shape, np.nan))[number, rows] = value
        if time.perf_counter() - self._saved > SAVE_SECONDS:
            self._save()

    def finish(self) -> None:
        """Forgets what is on disk, since the record is."""
        if hosts.is_first():
            self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        self._saved = time.perf_counter()
        if not hosts.is_first() or not self.values:
            return
        arrays = self.values | {TABLE + name: table for name, table in self._tables.items()}
        with whole_file(self._path) as file:
            np.savez(file, seconds=self.seconds + self._saved - self._started, **arrays)


def read_arrays(content: bytes) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz file by name; None where it cannot be read."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _bytes(path: Path) -> bytes:
    """Of the file at `path`; none where there is none."""
    return path.read_bytes() if path.exists() else b""
