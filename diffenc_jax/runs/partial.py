"""An unfinished evaluation: its values so far, kept on disk so that an interrupted evaluation can be resumed."""

import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.core.buckets import is_remote
from diffenc_jax.core.text import printable
from diffenc_jax.core.versions import changes, of_any_number
from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import check_writable, parse_json, read_arrays, read_if_present, write_arrays

# Least pause between two saves: in seconds, and as a multiple of the duration of the last save.
SAVE_SECONDS, SAVE_PAUSE = 30.0, 20.0
# Beginnings of the names of arrays in a file. Its text "about" is {"description": .., "seconds": ..}, as JSON.
TABLE, VALUE = "table.", "value."


class PartialEvaluation:
    """Values [passes, images] by name of one evaluation, of which some are missing (NaN).

    They are saved beside the future record, every half minute and when an exception ends the evaluation. The file is
    deleted when the context is left without an exception.

    Saved values are used only for the same description. The number of devices may differ, since no value depends on
    it. The kind of devices, the software and outside parts may not, since the record states them for all values. A file
    of another description, or one that is not as it was saved, is ignored: a line on standard error says so.

    Attributes:
      description: the record without the results.
      values: the values by name.
    """

    def __init__(self, description: dict[str, Any], terms: Collection[str], record: Path | None = None):
        """Prepare an evaluation.

        Args:
          description: its record without the results.
          terms: names of values that it must have; it may have others.
          record: file of the record; None keeps nothing on disk.
        """
        self.description, self.values = description, dict[str, np.ndarray]()
        self._canonical = json.loads(json.dumps(of_any_number(description)))  # lists for tuples, as in a file
        self._shape = description["estimator"]["passes"], description["dataset"]["num_examples"]
        self._terms, self._path = terms, record and record.with_suffix(".partial.npz")
        self._pause = SAVE_SECONDS
        self._tables: dict[str, np.ndarray] | None = None
        self._started = self._saved = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time spent on this evaluation, by earlier processes too."""
        return time.perf_counter() - self._started

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The values and the tables by name."""
        return self.values | (self._tables or {})

    def __enter__(self) -> "PartialEvaluation":
        """Load what an earlier process saved. Raises InputError if files cannot be read or written."""
        content = self._usable(self._path) if self._path is not None and hosts.is_first() else b""
        if arrays := read_arrays(hosts.broadcast(content)):
            self._started -= json.loads(str(arrays["about"]))["seconds"]
            self._tables, self.values = prefixed(arrays, TABLE), prefixed(arrays, VALUE)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._save(may_fail=issubclass(kind, OSError))  # the full disk is reported already
        elif self._path is not None and hosts.is_first():
            storage.delete(self._path)

    def tables(self, make: Callable[[], dict[str, jax.Array]]) -> dict[str, jax.Array]:
        """The tables behind the values so far; for a new evaluation, those that `make` returns."""
        if self._tables is None:
            self._tables = {name: hosts.all_gather(table) for name, table in make().items()}
        return {name: jnp.asarray(table) for name, table in self._tables.items()}

    def has(self, number: int, rows: np.ndarray) -> bool:
        """Whether the values of pass `number` are known, and finite, for all images `rows`."""
        return bool(self.values) and all(np.isfinite(a[number, rows]).all() for a in self.values.values())

    def put(self, number: int, rows: np.ndarray, values: Mapping[str, np.ndarray | jax.Array]) -> None:
        """Store the values of pass `number` for the images `rows`: of values [B], the first len(rows)."""
        # All names first: if a signal or an error interrupts the loop below, the remaining values count as missing.
        self.values |= {name: np.full(self._shape, np.nan) for name in values if name not in self.values}
        for name, value in values.items():
            self.values[name][number, rows] = np.asarray(value)[: len(rows)]
        if time.perf_counter() - self._saved > self._pause:
            # A full disk could not take the record either, but a bucket may answer again by then.
            self._save(may_fail=is_remote(self._path or ""))

    def _save(self, may_fail: bool) -> None:
        """Write the values so far; raises OSError if that fails, unless it `may_fail`."""
        self._saved = time.perf_counter()
        if self._path is None or not self.values or not hosts.is_first():
            return
        about = json.dumps({"description": self._canonical, "seconds": self.seconds})
        arrays = {"about": np.asarray(about)} | {VALUE + name: values for name, values in self.values.items()}
        arrays |= {TABLE + name: table for name, table in (self._tables or {}).items()}
        with suppress(OSError) if may_fail else nullcontext():
            write_arrays(self._path, **arrays, digest=digest_of(arrays))
        self._pause = max(SAVE_SECONDS, SAVE_PAUSE * (time.perf_counter() - self._saved))

    def _usable(self, path: Path) -> bytes:
        """Content of the file; empty if there is none, or if it is ignored."""
        check_writable(path.parent)
        content = read_if_present(path, "delete it")
        why = self._flaw(read_arrays(content) or {}) if content else ""
        if why:
            print(printable(f"{path} {why}; the evaluation starts again"), file=sys.stderr, flush=True)
        return b"" if why else content

    def _flaw(self, arrays: dict[str, np.ndarray]) -> str:
        """Why a file is ignored; empty if it is used."""
        with suppress(AttributeError, KeyError, TypeError, ValueError):  # of a file that somebody else wrote
            digest, values = str(arrays.pop("digest")), prefixed(arrays, VALUE)
            about = parse_json(str(arrays["about"]))
            fits = all((array.dtype, array.shape) == (np.float64, self._shape) for array in values.values())
            is_saved = digest == digest_of(arrays) and fits and values.keys() >= set(self._terms)
            if is_saved and 0 <= about["seconds"] < math.inf:
                before, now = about["description"], self._canonical
                return "" if before == now else f"was begun {changes(before, now) or 'with another description'}"
        return "is not as it was saved"


def prefixed(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 digest of names, types, shapes and values, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()
