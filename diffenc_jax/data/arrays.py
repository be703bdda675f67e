"""numpy's files: .npy and .npz. Headers are looked at first; nothing is unpickled."""

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

from diffenc_jax.data import checks
from diffenc_jax.data.images import hold_out, with_channels
from diffenc_jax.errors import first_line

PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes, and zipfile unpacks piece by piece
LONGEST_HEADER = 2**14  # bytes; numpy admits 10,000 characters
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Header(NamedTuple):
    """What an array file says of itself.

    Attributes:
      shape: as it is written there.
      dtype: of its values.
      size: in bytes, of the whole file that this describes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    size: int


def npy(path: Path) -> np.ndarray:
    """uint8 [N, H, W, C], mapped, so that what is not asked for is not read.

    Raises:
      InputError: it holds something else, or more or less than it says.
    """
    with checks.reading(path, "a .npy array", ValueError):
        with checks.regular(path).open("rb") as file:
            header = _header(file)
        checks.images(path, header.shape, header.dtype)
        _check_size(header, path.stat().st_size)
        return with_channels(np.load(path, mmap_mode="r", allow_pickle=False))


def npz(path: Path) -> dict[str, Callable[[], np.ndarray]]:
    """Splits from arrays 'train' and 'test', or 'x_train' and 'x_test', or a single one.

    Raises:
      InputError: it is no such archive.
    """
    names = [name for name, header in headers(path).items() if len(header.shape) >= 3]
    for prefix in ("", "x_"):
        if prefix + "train" in names and prefix + "test" in names:
            return {split: partial(npz_images, path, prefix + split) for split in ("train", "test")}
    if len(names) == 1:
        return hold_out(npz_images(path, names[0]))
    held = ", ".join(sorted(names)[:8]) or "none"
    raise checks.refused(path, f"must hold 'train' and 'test', or one array of images; its images: {held}")


def npz_images(path: Path, name: str) -> np.ndarray:
    """uint8 [N, H, W, C] of the array `name`."""
    array = npz_array(path, name)
    checks.images(path, array.shape, array.dtype)
    return with_channels(array)


def headers(path: Path) -> dict[str, Header]:
    """Of all arrays of an archive, by name."""
    with _archive(path) as archive:
        found = {}
        for entry in archive.namelist():
            if entry.endswith(".npy"):
                with archive.open(entry) as file:
                    found[entry.removesuffix(".npy")] = _header(file)
        return found


def npz_array(path: Path, name: str) -> np.ndarray:
    """The array `name` of an archive, if it is of uint8 and as large as its header says."""
    with _archive(path) as archive:
        entry = archive.getinfo(name + ".npy")
        with archive.open(entry) as file:
            header = _header(file)
        if header.dtype != np.uint8:
            raise checks.refused(path, f"must hold uint8, values 0 .. 255; {name} is {str(header.dtype)[:40]}")
        _check_size(header, entry.file_size)
        checks.fits(path, header.shape)
        with archive.open(entry) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    errors = (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)  # the last: it is encrypted
    with checks.reading(path, "a .npz archive", *errors), zipfile.ZipFile(checks.regular(path)) as archive:
        for entry in archive.infolist():
            if entry.compress_type not in PACKED:
                raise ValueError(f"{entry.filename[:40]!r} is packed in a way that numpy does not use")
        yield archive


def _header(file: BinaryIO) -> Header:
    """Of the array whose file begins here; raises ValueError."""
    head = io.BytesIO(file.read(LONGEST_HEADER))  # numpy would read as much as it says, up to 4 GB
    version = np.lib.format.read_magic(head)
    if version not in HEADERS:
        raise ValueError(f"its format is {version}, which is not of plain arrays")
    try:
        shape, _, dtype = HEADERS[version](head)
    except Exception as error:  # numpy reads it as Python's source, and names ValueError alone of what comes of that
        raise ValueError(f"its header: {first_line(error) or type(error).__name__}") from error
    return Header(shape, dtype, head.tell() + math.prod(shape) * dtype.itemsize)


def _check_size(header: Header, size: int) -> None:
    if header.size != size:
        raise ValueError(f"it has {size} bytes, and its header, of shape {list(header.shape)}, needs {header.size}")
