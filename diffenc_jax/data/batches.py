"""Folders of batches: CIFAR-10 and the downsampled ImageNets as published for Python, pickled or .npz.

A batch's 'data' is uint8 [N, 3 S S], each row an image by channel, then row, then column.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from diffenc_jax.data import arrays, checks, pickles
from diffenc_jax.data.images import Joined

NAMES = {
    "train": re.compile(r"(?:train_)?data_batch_(\d{1,9})(?:\.npz)?"),
    "test": re.compile(r"(?:val_data|test_batch)(?:\.npz)?"),
}
ARCHIVES = "*_npz"  # the folders that ImageNet's archives unpack to, which may lie side by side
COMPLETE = "train_data_batch_1 .. and val_data, or data_batch_1 .. and test_batch, belong together"


def folder(path: Path) -> dict[str, Callable[[], Joined]]:
    """Splits from the batches in `path`, those to train on in the order of their numbers.

    Returns:
      Nothing if there are no batches.

    Raises:
      InputError: one is missing, or there twice.
    """
    found = {split: _numbered(path, name) for split, name in NAMES.items()}
    if not any(found.values()):
        return {}
    for split, files in found.items():
        if not files:
            raise checks.refused(path, f"holds no batches for {split}: {COMPLETE}")
    return {split: partial(_joined, files, path) for split, files in found.items()}


def _numbered(path: Path, name: re.Pattern) -> list[Path]:
    """The files of that name, by number from 1."""
    files = {}
    for file in sorted([*path.iterdir(), *path.glob(f"{ARCHIVES}/*")]):
        if match := name.fullmatch(file.name):
            number = int(match[1]) if match.groups() else 1
            if number in files:
                raise checks.refused(file, f"and {files[number]} are the same batch; keep one")
            files[number] = file
    missing = sorted(set(range(1, len(files) + 1)) - set(files))
    if missing:
        raise checks.refused(path, f"lacks batch {missing[0]} of those to train on; it has {sorted(files)[:20]}")
    return [files[number] for number in sorted(files)]


def _joined(files: list[Path], path: Path) -> Joined:
    batches = [_Batch(checks.regular(file, path)) for file in files]
    for file, batch in zip(files, batches, strict=True):
        if batch.shape[1:] != batches[0].shape[1:]:
            raise checks.refused(file, f"has images of {batch.shape[1:]}, and {files[0]} of {batches[0].shape[1:]}")
    return Joined(batches)


class _Batch:
    """One file's `data.images.Images`. A pickle's are mapped, an archive's are read anew each time."""

    def __init__(self, path: Path):
        if path.suffix == ".npz":
            self._rows = partial(arrays.npz_array, path, "data")
            header = arrays.headers(path).get("data")
            if header is None:
                raise checks.refused(path, "holds no array 'data'")
            shape = header.shape
        else:
            rows = pickles.array(path, "data")
            self._rows, shape = lambda: rows, rows.shape
        self.shape = _image_shape(path, shape)

    def __getitem__(self, rows: slice) -> np.ndarray:
        _, height, width, channels = self.shape
        return self._rows()[rows].reshape(-1, channels, height, width).transpose(0, 2, 3, 1)


def _image_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """[N, S, S, 3] of rows [N, 3 S S]; raises InputError if they are others."""
    size = math.isqrt(max(shape[1], 0) // 3) if len(shape) == 2 else 0
    if size == 0 or shape[0] < 1 or shape[1] != 3 * size * size:
        raise checks.refused(
            path, f"must hold 'data' [N, 3 S S], square images in three colours; it is {str(shape)[:80]}"
        )
    return shape[0], size, size, 3
