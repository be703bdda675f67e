"""Reader of checkpoints that flax.serialization wrote. The file is not trusted.

A checkpoint is one msgpack map of maps: names to numbers and arrays. An array is msgpack's
extension type 1 around [shape, dtype's name, bytes], a numpy scalar type 3 around the same, a
complex number type 2; an array beyond 2^30 bytes is a map of '__msgpack_chunked_array__', 'shape'
and 'chunks'. Nothing is executed, no size is believed before the bytes have been read, and
entries that are not requested are skipped without being built.
"""

import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
import numpy as np

from diffenc_jax.core.errors import InputError, first_line

# The largest published models are near 2 GB: parameters, their averages, and two moments.
MAX_BYTES = 32 * 2**30
MAX_DEPTH = 32
MAX_ENTRIES = 100_000
MAX_NAME = 256
MAX_RANK = 16
READ_SIZE = 2**20
DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
CHUNKED = "__msgpack_chunked_array__"
PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))


def read_checkpoint(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """The entries `keys` of a checkpoint: nested dicts of numbers and arrays.

    Raises:
      InputError: the file cannot be read, has another form, lacks one of `keys`, or is larger, deeper or of more
        entries than any checkpoint.
    """
    try:
        if path.is_dir():
            raise ValueError("it is a folder, not one file")
        if not path.is_file():  # opening a pipe or a device might never return
            raise ValueError("it is not a regular file" if path.exists() else "there is no such file")
        with path.open("rb") as file:
            return _Reader(file).document(keys)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} cannot be read as a flax checkpoint: {error}") from error


class _Reader:
    """One pass over a file. Every error is a ValueError that says what is wrong and where."""

    def __init__(self, file: BinaryIO):
        self._file, self._size = file, os.fstat(file.fileno()).st_size
        self._entries = 0
        head = file.read(2)
        if not head:
            raise ValueError("it is empty")
        if head in PICKLE:
            raise ValueError("it is a pickle, which is a program, and is not run")
        if self._size > MAX_BYTES:
            raise ValueError(f"it has {self._size} bytes; {MAX_BYTES} are the most that is read")
        file.seek(0)
        self._unpacker = msgpack.Unpacker(
            file,
            read_size=READ_SIZE,
            max_buffer_size=max(self._size, READ_SIZE),
            max_str_len=MAX_NAME,
            max_bin_len=MAX_NAME,
            max_array_len=0,  # flax turns lists into maps; maps are walked here, header by header
            max_map_len=MAX_ENTRIES,
            max_ext_len=self._size,
            ext_hook=_extension,
        )

    def document(self, keys: tuple[str, ...]) -> dict[str, Any]:
        """The entries `keys` of the file's only object, a map."""
        if not _is_map(self._tag("its beginning")):
            raise ValueError("it does not begin with a msgpack map")
        found, names = {}, []
        for name in self._names("its top", depth=0):
            names.append(name)
            if name in keys:
                found[name] = self._value(name, depth=1)
            else:
                self._call("skip", name)
        if self._unpacker.tell() != self._size:
            raise ValueError("more follows after its end")
        if missing := [key for key in keys if key not in found]:
            raise ValueError(f"it has no {' and no '.join(missing)}; it has {', '.join(names[:8]) or 'nothing'}")
        return found

    def _value(self, where: str, depth: int) -> Any:
        if not _is_map(self._tag(where)):
            return self._call("unpack", where)
        entries = {name: self._value(f"{where}/{name}", depth + 1) for name in self._names(where, depth)}
        return _joined(entries, where) if CHUNKED in entries else entries

    def _names(self, where: str, depth: int):
        """The names of the map that comes next; after each, its value must be read."""
        count = self._call("read_map_header", where)
        self._entries += count
        if self._entries > MAX_ENTRIES:
            raise ValueError(f"it has more than {MAX_ENTRIES} entries, at {where}")
        if depth >= MAX_DEPTH:
            raise ValueError(f"it is more than {MAX_DEPTH} maps deep, at {where[:MAX_NAME]}")
        seen = set()
        for _ in range(count):
            is_text = _is_text(self._tag(where))
            name = self._call("unpack", where) if is_text else None
            if not name or not name.isprintable() or "/" in name:
                raise ValueError(f"{where} has an entry whose name is not plain text")
            if name in seen:
                raise ValueError(f"{where} has two entries {name!r}")
            seen.add(name)
            yield name

    def _tag(self, where: str) -> int:
        """The type byte of the next object, which stays unread."""
        byte = os.pread(self._file.fileno(), 1, self._unpacker.tell())
        if not byte:
            raise ValueError(f"it is cut short, at {where}")
        return byte[0]

    def _call(self, method: str, where: str) -> Any:
        """The result of a method of the unpacker, whose errors become ValueErrors."""
        try:
            return getattr(self._unpacker, method)()
        except msgpack.OutOfData as error:
            raise ValueError(f"it is cut short, at {where}") from error
        except msgpack.StackError as error:
            raise ValueError(f"{where} is nested too deep") from error
        except (ValueError, msgpack.UnpackException) as error:
            raise ValueError(f"{where}: {first_line(error) or type(error).__name__}") from error


def _is_map(tag: int) -> bool:
    return 0x80 <= tag <= 0x8F or tag in (0xDE, 0xDF)


def _is_text(tag: int) -> bool:
    return 0xA0 <= tag <= 0xBF or tag in (0xD9, 0xDA, 0xDB)


def _extension(code: int, data: bytes) -> Any:
    """flax's extension types: 1 an array, 2 a complex number, 3 a numpy scalar (as an array of shape [])."""
    if code not in (1, 2, 3):
        raise ValueError(f"extension type {code} is not one of flax's")
    limits = dict(max_array_len=MAX_RANK, max_map_len=0, max_ext_len=0)
    parts = msgpack.unpackb(data, raw=True, **limits)
    if code == 2:
        if not (isinstance(parts, list) and len(parts) == 2 and all(type(part) is float for part in parts)):
            raise ValueError("a complex number that is not two floats")
        return complex(*parts)
    if not (isinstance(parts, list) and len(parts) == 3):
        raise ValueError("an array that is not [shape, type, bytes]")
    return _array(*parts)


def _array(shape: Any, dtype: Any, buffer: Any) -> np.ndarray:
    """The array from the three parts that flax writes; raises ValueError unless they agree."""
    dtypes = {name.encode(): np.dtype(name) for name in DTYPES}
    if not isinstance(dtype, bytes) or dtype not in dtypes:
        raise ValueError(f"an array of type {repr(dtype)[:40]}; known: {', '.join(DTYPES)}")
    dtype = dtypes[dtype]
    if not isinstance(buffer, bytes) or len(buffer) % dtype.itemsize:
        raise ValueError(f"an array of {dtype} whose bytes are not a multiple of its size")
    return np.frombuffer(buffer, dtype).reshape(_shape(shape, len(buffer) // dtype.itemsize))


def _shape(shape: Any, size: int) -> tuple[int, ...]:
    """`shape` as a tuple; raises ValueError unless it has `size` entries."""
    valid = isinstance(shape, list) and len(shape) <= MAX_RANK and all(type(n) is int and n >= 1 for n in shape)
    if not valid or math.prod(shape) != size:
        raise ValueError(f"an array of {size} entries with the shape {str(shape)[:60]}")
    return tuple(shape)


def _joined(entries: dict[str, Any], where: str) -> np.ndarray:
    """The array that flax split into flat chunks."""
    shape, chunks = (_listed(entries.get(name)) for name in ("shape", "chunks"))
    if not chunks or not all(isinstance(chunk, np.ndarray) and chunk.dtype == chunks[0].dtype for chunk in chunks):
        raise ValueError(f"{where}: a chunked array without chunks, or of several types")
    flat = np.concatenate([chunk.reshape(-1) for chunk in chunks])
    try:
        return flat.reshape(_shape(shape, flat.size))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _listed(entries: Any) -> list[Any] | None:
    """The list that flax wrote as {'0': .., '1': ..}; None if it is not one."""
    if not isinstance(entries, dict) or entries.keys() != {str(i) for i in range(len(entries))}:
        return None
    return [entries[str(i)] for i in range(len(entries))]
