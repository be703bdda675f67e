"""Folders of batches: CIFAR-10 and the downsampled ImageNets as published for Python, pickled or .npz.

A batch's 'data' is uint8 [N, 3 S S]. Each row is an image in the order channel, row, column. Its 'labels' are whole
numbers.
"""

import math
import re
from functools import partial
from pathlib import Path

import numpy as np

from diffenc_jax.data import arrays, checks, pickles
from diffenc_jax.data.images import Images, Labels, OnDemand, Splits, as_labels, concatenation

NAMES = {
    "train": re.compile(r"(?:train_)?data_batch_(\d{1,9})(?:\.npz)?"),
    "test": re.compile(r"(?:val_data|test_batch)(?:\.npz)?"),
}
LABELS = "labels"
ARCHIVES = "*_npz"  # the folders that ImageNet's two archives unpack to
COMPLETE = "train_data_batch_1 .. and val_data, or data_batch_1 .. and test_batch, belong together"


def open_folder(path: Path) -> Splits:
    """Splits from the batches in `path`, training batches in the order of their numbers; empty without batches.

    Raises InputError if a batch is missing or present twice.
    """
    return {split: partial(_joined, files, path) for split, files in _files(path).items()}


def folder_labels(path: Path) -> Labels:
    """Labels of the splits of `open_folder`: a batch's 'labels', one whole number per image."""
    return Labels.of_train({split: partial(_joined_labels, files, path) for split, files in _files(path).items()})


def _files(path: Path) -> dict[str, list[Path]]:
    """The files of each split in their order; empty without any. Raises InputError if one split has none."""
    files = {split: _numbered(path, name) for split, name in NAMES.items()}
    if not any(files.values()):
        return {}
    for split, batches in files.items():
        if not batches:
            raise checks.refused(path, f"holds no batches for {split}: {COMPLETE}")
    return files


def _numbered(path: Path, name: re.Pattern) -> list[Path]:
    """Files whose names match `name`, in the order of their numbers from 1."""
    files: dict[int, Path] = {}
    for file in sorted([*path.iterdir(), *path.glob(f"{ARCHIVES}/*")]):
        if match := name.fullmatch(file.name):
            number = int(match[1]) if match.groups() else 1
            if number in files:
                raise checks.refused(file, f"and {files[number]} are the same batch; keep one")
            files[number] = file
    missing = sorted(set(range(1, len(files) + 1)) - set(files))
    if missing:
        raise checks.refused(path, f"lacks training batch {missing[0]}; it has {sorted(files)[:20]}")
    return [files[number] for number in sorted(files)]


def _joined(files: list[Path], path: Path) -> Images:
    batches = [_batch(checks.regular(file, path)) for file in files]
    for file, batch in zip(files, batches, strict=True):
        if batch.shape[1:] != batches[0].shape[1:]:
            raise checks.refused(file, f"has images of {batch.shape[1:]}, but {files[0]} of {batches[0].shape[1:]}")
    return concatenation(batches)


def _joined_labels(files: list[Path], path: Path) -> np.ndarray:
    return np.concatenate([_labels(checks.regular(file, path)) for file in files])


def _labels(file: Path) -> np.ndarray:
    if file.suffix != ".npz":
        return as_labels(file, LABELS, pickles.pickled_integers(file, LABELS))
    if LABELS not in arrays.npz_headers(file):
        raise checks.refused(file, f"holds no array {LABELS!r}")
    return arrays.npz_integers(file, LABELS)


def _batch(path: Path) -> Images:
    """The images of one file. Pickles are memory-mapped; .npz files are read at every access."""
    if path.suffix == ".npz":
        if "data" not in (headers := arrays.npz_headers(path)):
            raise checks.refused(path, "holds no array 'data'")
        rows, shape = partial(arrays.npz_array, path, "data"), _image_shape(path, headers["data"].shape)
    else:
        mapped = pickles.pickled_array(path, "data")
        rows, shape = partial(np.asarray, mapped), _image_shape(path, mapped.shape)

    def read(start: int, stop: int) -> np.ndarray:
        _, height, width, channels = shape
        return rows()[start:stop].reshape(-1, channels, height, width).transpose(0, 2, 3, 1)

    return OnDemand(shape, read)


def _image_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """[N, S, S, 3] for rows [N, 3 S S]; raises InputError for other shapes."""
    size = math.isqrt(max(shape[1], 0) // 3) if len(shape) == 2 else 0
    if size == 0 or shape[0] < 1 or shape[1] != 3 * size * size:
        raise checks.refused(
            path, f"must hold 'data' [N, 3 S S], square images in three colours; it is {str(shape)[:80]}"
        )
    return shape[0], size, size, 3
