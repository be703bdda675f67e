"""Drawn images on disk, whole or not at all, and gone on with where they are too few."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax import hosts
from diffenc_jax.unfinished import read_arrays
from diffenc_jax.workdir import check_writable, whole_file


class Store:
    """The file of the images drawn under certain settings: `images`, uint8 [N, H, W, C], and the settings as JSON.

    Images drawn before under the same settings are taken up, those of another are replaced. When the context ends,
    all are in the file; where an exception ends it, beside it, under a name that says that they are too few.
    """

    def __init__(self, path: Path, settings: dict[str, Any]):
        """`settings`: all that the images depend on but their numbers."""
        self._path, self._unfinished = path, path.with_suffix(".unfinished.npz")
        self._settings = json.dumps(settings, sort_keys=True)
        self._parts: list[np.ndarray] = []
        self._changed = False
        self.count = 0

    def __enter__(self) -> "Store":
        """Takes up what is there; what cannot be read is begun anew. Raises InputError if nothing can be written."""
        if hosts.is_first():
            check_writable(self._path.parent)
        found = [images for path in (self._path, self._unfinished) if (images := self._read(path)) is not None]
        if found:
            self._parts = [max(found, key=len)]
        self.count = int(hosts.told(str(sum(map(len, self._parts))).encode()))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not hosts.is_first():
            return
        if self._changed:
            with whole_file(self._path if kind is None else self._unfinished) as file:
                np.savez(file, images=self.images, settings=self._settings)
        if kind is None:
            self._unfinished.unlink(missing_ok=True)

    @property
    def images(self) -> np.ndarray:
        """All so far; on other hosts than the first, those of this process alone."""
        return np.concatenate(self._parts)

    def add(self, images: np.ndarray) -> None:
        """Takes the images that come next."""
        self._parts.append(images)
        self.count += len(images)
        self._changed = True

    def _read(self, path: Path) -> np.ndarray | None:
        arrays = read_arrays(path.read_bytes()) if hosts.is_first() and path.exists() else None
        if arrays is None or str(arrays.get("settings")) != self._settings:
            return None
        return arrays["images"]
