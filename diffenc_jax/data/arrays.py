"""numpy's files, .npy and .npz. Headers are checked before values are read, and nothing is unpickled."""

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from diffenc_jax.core.errors import first_line
from diffenc_jax.data import checks
from diffenc_jax.data.images import hold_out, with_channels
from diffenc_jax.data.labels import Labels, as_labels

PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the kinds that numpy writes and zipfile unpacks piece by piece
LONGEST_HEADER = 2**14  # bytes; numpy allows 10,000 characters
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Header(NamedTuple):
    """Shape and dtype of the array in a file, and the size in bytes of a complete file with this header."""

    shape: tuple[int, ...]
    dtype: np.dtype
    size: int


def npy_images(path: Path) -> np.ndarray:
    """Images uint8 [N, H, W, C] of a .npy file, memory-mapped so that only requested rows are read.

    Raises InputError if the file holds something else, or if its size does not match its header.
    """
    with checks.reading(path, "a .npy array", ValueError):
        with checks.regular(path).open("rb") as file:
            header = array_header(file)
        checks.are_images(path, header.shape, header.dtype)
        check_size(header, path.stat().st_size)
        return with_channels(np.load(path, mmap_mode="r", allow_pickle=False))


def npz_splits(path: Path) -> dict[str, Callable[[], np.ndarray]]:
    """Splits of a .npz file with the arrays 'train' and 'test', 'x_train' and 'x_test', or one array of images."""
    names = _names_of_images(path)
    for prefix in ("", "x_"):
        if prefix + "train" in names and prefix + "test" in names:
            return {split: partial(npz_images, path, prefix + split) for split in ("train", "test")}
    if len(names) == 1:
        return hold_out(npz_images(path, names[0]))
    raise checks.refused(path, f"must hold 'train' and 'test', or one array of images; its images: {_listed(names)}")


def npz_labels(path: Path) -> Labels | None:
    """Labels of the splits of `npz_splits`; None without an array of them.

    They are 'y_train' and 'y_test', 'train_labels' and 'test_labels', or beside one array of images 'y' or 'labels'.
    """
    arrays = npz_headers(path)
    for pattern in ("y_{}", "{}_labels", "labels_{}"):
        names = {split: pattern.format(split) for split in ("train", "test")}
        if arrays.keys() >= set(names.values()):
            return Labels.of_train({split: partial(npz_integers, path, name) for split, name in names.items()})
    name = next((name for name in ("y", "labels") if name in arrays), None)
    if name is None or len(_names_of_images(path)) != 1:
        return None
    return Labels(hold_out(npz_integers(path, name)), lambda: np.unique(npz_integers(path, name)))


def npz_integers(path: Path, name: str) -> np.ndarray:
    """Whole numbers [N] of the array `name` of a .npz file; raises InputError if it holds something else."""
    return as_labels(path, name, npz_array(path, name, kinds="iu"))


def npz_single(path: Path) -> np.ndarray:
    """Images uint8 [N, H, W, C] of a .npz file with one array of images."""
    names = _names_of_images(path)
    if len(names) != 1:
        raise checks.refused(path, f"must hold one array of images; its images: {_listed(names)}")
    return npz_images(path, names[0])


def _names_of_images(path: Path) -> list[str]:
    return [name for name, header in npz_headers(path).items() if len(header.shape) >= 3]


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names)[:8]) or "none"


def npz_images(path: Path, name: str) -> np.ndarray:
    """Images uint8 [N, H, W, C] of the array `name` of a .npz file."""
    array = npz_array(path, name)
    checks.are_images(path, array.shape, array.dtype)
    return with_channels(array)


def npz_headers(path: Path) -> dict[str, Header]:
    """Headers of all arrays of a .npz file by name."""
    with _archive(path) as archive:
        found = {}
        for entry in archive.namelist():
            if entry.endswith(".npy"):
                with archive.open(entry) as file:
                    found[entry.removesuffix(".npy")] = array_header(file)
        return found


def npz_array(path: Path, name: str, kinds: str = "") -> np.ndarray:
    """The array `name` of a .npz file; raises InputError unless it is uint8 and as large as its header says.

    Args:
      kinds: the kinds of numpy's dtypes that are accepted as well, such as "iu" for all whole numbers.
    """
    with _archive(path) as archive:
        entry = archive.getinfo(name + ".npy")
        with archive.open(entry) as file:
            header = array_header(file)
        if header.dtype != np.uint8 and header.dtype.kind not in kinds:
            wanted, advice = ("whole numbers", "") if kinds else ("uint8, values 0 .. 255", f"; {checks.UNSCALED}")
            raise checks.refused(path, f"must hold {wanted}; {name} is {str(header.dtype)[:40]}{advice}")
        check_size(header, entry.file_size)
        checks.fits_memory(path, header.shape)
        with archive.open(entry) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    errors = (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)  # RuntimeError: encrypted
    with checks.reading(path, "a .npz archive", *errors), zipfile.ZipFile(checks.regular(path)) as archive:
        for entry in archive.infolist():
            if entry.compress_type not in PACKED:
                raise ValueError(f"{entry.filename[:40]!r} is compressed in a way that numpy does not use")
        yield archive


def array_header(file: BinaryIO) -> Header:
    """Header of the array file that begins here; raises ValueError."""
    head = io.BytesIO(file.read(LONGEST_HEADER))  # numpy would read as much as the header says, up to 4 GB
    version = np.lib.format.read_magic(head)
    if version not in HEADERS:
        raise ValueError(f"its format version {version} is not supported")
    try:
        shape, _, dtype = HEADERS[version](head)
    except Exception as error:  # numpy parses it as Python source, and documents ValueError alone
        raise ValueError(f"its header: {first_line(error) or type(error).__name__}") from error
    return Header(shape, dtype, head.tell() + math.prod(shape) * dtype.itemsize)


def check_size(header: Header, size: int) -> None:
    """Raise ValueError unless the array file of this header has `size` bytes."""
    if header.size != size:
        raise ValueError(f"it has {size} bytes, but its header, of shape {list(header.shape)}, needs {header.size}")
