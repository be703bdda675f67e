"""Sampled images on disk: written atomically, and continued if there are too few."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.parallel import hosts
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import check_writable, opened_if_present, read_arrays, write_arrays


class ImageStore:
    """The file of the images sampled with certain settings: `images`, uint8 [N, H, W, C], and the settings as JSON.

    Beside the images there may be values per image, arrays [N] by name. Existing images are kept if they were sampled
    with the same settings, and replaced otherwise. When the context ends, all images are in the file. If an exception
    ends it, they are in a file beside it, named "*.unfinished.npz".
    """

    def __init__(self, path: Path, settings: dict[str, Any], shape: tuple[int, ...], values: tuple[str, ...] = ()):
        """Find the files; nothing is read.

        Args:
          settings: everything that the images depend on except for their numbers.
          shape: that of an image.
          values: names of the values per image.
        """
        self._path, self._unfinished = path, path.with_suffix(".unfinished.npz")
        self._settings, self._shape, self._names = json.dumps(settings, sort_keys=True), shape, ("images", *values)
        self._parts: list[dict[str, np.ndarray]] = []
        self._changed = False
        self.count = 0

    def __enter__(self) -> "ImageStore":
        """Read the existing images; raises InputError if the folder cannot be written to."""
        if hosts.is_first():
            check_writable(self._path.parent)
        paths = (self._path, self._unfinished) if hosts.is_first() else ()
        contents = [arrays for path in paths if (arrays := self._read(path)) is not None]
        self._parts = sorted(contents, key=lambda arrays: len(arrays["images"]))[-1:]
        self.count = int(hosts.broadcast(str(sum(len(part["images"]) for part in self._parts)).encode()))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not hosts.is_first():
            return
        if self._changed:
            path = self._path if kind is None else self._unfinished
            write_arrays(path, **{name: self._joined(name) for name in self._names}, settings=self._settings)
        if kind is None:
            storage.delete(self._unfinished)

    @property
    def images(self) -> np.ndarray:
        """All images so far; on other hosts than the first, only those added by this process."""
        return self._joined("images")

    def add(self, images: np.ndarray, **values: np.ndarray) -> None:
        """Append the images with the next numbers, and their values by name."""
        self._parts.append({"images": images, **values})
        self.count += len(images)
        self._changed = True

    def _joined(self, name: str) -> np.ndarray:
        return np.concatenate([part[name] for part in self._parts])

    def _read(self, path: Path) -> dict[str, np.ndarray] | None:
        with opened_if_present(path, "delete it") as file:
            arrays = read_arrays(file)
        if arrays is None or str(arrays.get("settings")) != self._settings:
            return None
        images, *values = (arrays.get(name, np.empty(0)) for name in self._names)
        if images.dtype != np.uint8 or images.shape[1:] != self._shape:
            return None
        if any(value.shape != images.shape[:1] or value.dtype != np.float64 for value in values):
            return None
        return dict(zip(self._names, (images, *values), strict=True))
