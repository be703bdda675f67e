"""numpy's files, .npy and .npz. Headers are checked before values are read, and nothing is unpickled."""

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from diffenc_jax.core.errors import first_line

PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the kinds that numpy writes and zipfile unpacks piece by piece
LONGEST_HEADER = 2**14  # bytes; numpy allows 10,000 characters
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# Errors of `Archive`. RuntimeError: the file is encrypted.
ERRORS = (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)


class Header(NamedTuple):
    """Shape and dtype of the array in a file, and the size in bytes of a complete file with this header."""

    shape: tuple[int, ...]
    dtype: np.dtype
    size: int

    def check_size(self, size: int) -> None:
        """Raise ValueError unless the array file of this header has `size` bytes."""
        if self.size != size:
            raise ValueError(f"it has {size} bytes, but its header, of shape {list(self.shape)}, needs {self.size}")


def read_header(file: IO[bytes]) -> Header:
    """Header of the array file that begins here; raises ValueError."""
    head = io.BytesIO(file.read(LONGEST_HEADER))  # numpy would read as much as the header says, up to 4 GB
    version = np.lib.format.read_magic(head)
    if version not in HEADERS:
        raise ValueError(f"its format version {version} is not supported")
    try:
        shape, _, dtype = HEADERS[version](head)
    except Exception as error:  # numpy parses it as Python source, and documents only ValueError
        raise ValueError(f"its header: {first_line(error) or type(error).__name__}") from error
    return Header(shape, dtype, head.tell() + math.prod(shape) * dtype.itemsize)


class Archive(zipfile.ZipFile):
    """An open .npz file. Everything may raise `ERRORS` if it is damaged.

    Attributes:
      headers: those of all arrays, by name.
      unpacked: bytes of all entries, as the archive states them.
    """

    def __init__(self, file: Path | IO[bytes]):
        super().__init__(file)
        for entry in self.infolist():
            if entry.compress_type not in PACKED:
                raise ValueError(f"{entry.filename[:40]!r} is compressed in a way that numpy does not use")
        self.unpacked = sum(entry.file_size for entry in self.infolist())
        self.headers: dict[str, Header] = {}
        for name in self.namelist():
            if name.endswith(".npy"):
                with self.open(name) as file:
                    self.headers[name.removesuffix(".npy")] = read_header(file)

    def array(self, name: str) -> np.ndarray:
        """The array of this name, if it is as large as its header says: numpy would allocate that at once."""
        self.headers[name].check_size(self.getinfo(f"{name}.npy").file_size)
        with self.open(f"{name}.npy") as entry:
            return np.lib.format.read_array(entry, allow_pickle=False)
