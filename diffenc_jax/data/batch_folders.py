"""Folders of batches: CIFAR-10 and the downsampled ImageNets as published for Python, pickled or .npz.

A batch's 'data' is uint8 [N, 3 S S]. Each row is an image in the order channel, row, column. Its 'labels' are whole
numbers.

A pickle is a program that calls the functions it names. Every name but those that numpy's arrays need is refused, so
that nothing else in a pickle is run.
"""

import math
import pickle
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.core.text import printable
from diffenc_jax.data import checks
from diffenc_jax.data.array_files import npz_array, npz_shapes
from diffenc_jax.data.images import Images, Labels, OnDemand, OpenLabels, Splits, concatenation

NAMES = {
    "train": re.compile(r"(?:train_)?data_batch_(\d{1,9})(?:\.npz)?"),
    "test": re.compile(r"(?:val_data|test_batch)(?:\.npz)?"),
}
ARCHIVES = "*_npz"  # the folders that ImageNet's two archives unpack to
COMPLETE = "train_data_batch_1 .. and val_data, or data_batch_1 .. and test_batch"


def open_folder(path: Path) -> tuple[Splits, OpenLabels]:
    """Splits and labels of the batches in `path`, training batches in the order of their numbers; none without batches.

    Raises InputError if a batch is missing or present twice.
    """
    files = {split: _numbered(path, name) for split, name in NAMES.items()}
    if not any(files.values()):
        return {}, lambda: None
    for batches in files.values():
        if [number for number, _ in batches] != list(range(1, len(batches) + 1)) or not batches:
            raise checks.refused(path, f"must hold each batch once: {COMPLETE}")
    paths = {split: [file for _, file in batches] for split, batches in files.items()}
    labels = {split: partial(_joined_labels, batches) for split, batches in paths.items()}
    return {split: partial(_joined, batches) for split, batches in paths.items()}, lambda: Labels.of_train(labels)


def _numbered(path: Path, name: re.Pattern[str]) -> list[tuple[int, Path]]:
    """The batches of a split with their numbers, in this order; a test batch has the number 1."""
    files = [(name.fullmatch(file.name), file) for file in (*path.iterdir(), *path.glob(f"{ARCHIVES}/*"))]
    return sorted((int(match[1]) if match.groups() else 1, file) for match, file in files if match)


def _joined(files: list[Path]) -> Images:
    batches = [_batch(file) for file in files]
    for file, batch in zip(files, batches, strict=True):
        if batch.shape[1:] != batches[0].shape[1:]:
            raise checks.refused(file, f"has images of {batch.shape[1:]}, but {files[0]} of {batches[0].shape[1:]}")
    return concatenation(batches)


def _joined_labels(files: list[Path]) -> np.ndarray:
    return np.concatenate([checks.as_labels(file, "labels", _array(file, "labels")) for file in files])


def _batch(path: Path) -> Images:
    """The images of one file, which is read at every access, so that one batch at a time is in memory."""
    shape = npz_shapes(path).get("data", ()) if path.suffix == ".npz" else _array(path, "data").shape
    size = math.isqrt(max(shape[1], 0) // 3) if len(shape) == 2 else 0
    if size == 0 or shape[0] < 1 or shape[1] != 3 * size * size:
        raise checks.refused(path, f"must hold 'data' [N, 3 S S], square images in three colours; it is {shape}")

    def read(start: int, stop: int) -> np.ndarray:
        images = _array(path, "data").reshape(-1, 3, size, size).transpose(0, 2, 3, 1)
        return checks.as_images(path, images, slice(start, stop))

    return OnDemand((shape[0], size, size, 3), read)


_reconstruct: Any = np.empty(0).__reduce__()[0]
# The names of numpy's arrays in pickles up to protocol 4.
KNOWN = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}
_Python: Any = pickle._Unpickler  # the one in C can be made to allocate any amount of memory


class _Unpickler(_Python):
    """Python's unpickler, to which no other names are known."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise ValueError(f"it names {printable(f'{module}.{name}'[:99])}, which no image needs; it is not run")
        return KNOWN[module, name]


def _array(path: Path, key: str) -> np.ndarray:
    """The array `key` of a .npz file, or the array or list under `key` (text or bytes) of the dict in a pickle."""
    if path.suffix == ".npz":
        return npz_array(path, key)
    with checks.reading(path):
        with checks.regular(path).open("rb") as file:
            batch = _Unpickler(file, encoding="bytes").load()
        entry = next((batch[name] for name in (key, key.encode()) if name in batch), None)
        if not isinstance(entry, list | np.ndarray):
            raise ValueError(f"it is no batch of images: it has no {key!r}")
        return np.asarray(entry)
