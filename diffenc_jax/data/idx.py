"""IDX files, the format of MNIST, gzipped or not."""

import gzip
import math
import zlib
from collections.abc import Callable
from functools import partial
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from diffenc_jax.data import checks
from diffenc_jax.data.images import Labels, Splits, with_channels

TYPES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
PREFIXES = {"train": "train", "test": "t10k"}  # of MNIST's file names, by split
Check = Callable[[Path, tuple[int, ...], np.dtype], None]
GZIP_BEST = 1032  # upper bound of gzip's compression ratio


def open_folder(path: Path) -> Splits:
    """Splits by MNIST's file names, train-images-idx3-ubyte and t10k-images-idx3-ubyte, with or without .gz.

    Empty if there are no such files; raises InputError if one of the two is missing.
    """
    files = _files(path, "images[-.]idx3")
    if len(files) == 1:
        raise checks.refused(path, "must hold both train-images-idx3-ubyte and t10k-images-idx3-ubyte (or .gz)")
    return {split: partial(idx_images, file) for split, file in files.items()}


def folder_labels(path: Path) -> Labels | None:
    """Labels of the splits of `open_folder`, train-labels-idx1-ubyte and t10k-labels-idx1-ubyte; None without them."""
    files = _files(path, "labels[-.]idx1")
    return Labels.of_train({s: partial(idx_labels, f) for s, f in files.items()}) if len(files) == 2 else None


def _files(path: Path, kind: str) -> dict[str, Path]:
    """MNIST's files of a kind by split."""
    files = {split: sorted(path.glob(f"{prefix}-{kind}-ubyte*")) for split, prefix in PREFIXES.items()}
    return {split: checks.regular(paths[0], path) for split, paths in files.items() if paths}


def file_labels(path: Path) -> Labels | None:
    """Labels of the images in one file, in a file beside it named '-labels-idx1-' for '-images-idx3-'; None without."""
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if beside == path or not beside.exists():
        return None
    return Labels.of_one(idx_labels(beside))


def idx_images(path: Path) -> np.ndarray:
    """Images uint8 [N, H, W, C] of one file; raises InputError as `_values` does."""
    return with_channels(_values(path, checks.are_images))


def idx_labels(path: Path) -> np.ndarray:
    """Labels uint8 [N] of one file; raises InputError as `_values` does."""
    return _values(path, _are_labels)


def _are_labels(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype != np.uint8 or len(shape) != 1 or shape[0] == 0:
        raise checks.refused(path, f"must hold labels, uint8 [N]; this is {dtype} {str(list(shape))[:60]}")


def _values(path: Path, check: Check) -> np.ndarray:
    """Values of one file: two zero bytes, type, rank, sizes as big-endian uint32, values.

    Raises InputError if it is not such a file, if `check` raises it for its shape and type, or if its size does not
    match its header.
    """
    with checks.reading(path, "an IDX file", ValueError, EOFError, zlib.error):
        with checks.regular(path).open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with (gzip.open if zipped else open)(path, "rb") as file:
            shape = _shape(path, file, check)
            size, packed = math.prod(shape), path.stat().st_size
            if size > packed * (GZIP_BEST if zipped else 1):
                raise ValueError(f"its header promises {size} bytes, more than can be in {packed} bytes")
            checks.fits_memory(path, shape)
            values = file.read(size + 1)
            if len(values) != size:
                raise ValueError(f"it is cut short or too long: its header promises {size} bytes")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _shape(
    path: Path, file: BufferedIOBase, check: Callable[[Path, tuple[int, ...], np.dtype], None]
) -> tuple[int, ...]:
    """Shape that the header gives; the values follow."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != bytes(2) or head[2] not in TYPES:
        raise checks.refused(path, "is not a .npy, .npz or IDX file of images")
    sizes = file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise ValueError("it is cut short")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    check(path, shape, np.dtype(TYPES[head[2]]))
    return shape
