"""Reader of checkpoints that flax.serialization wrote. The file is not trusted.

A checkpoint is one msgpack map of maps: names to numbers and arrays. An array is msgpack's
extension type 1 around [shape, dtype's name, bytes], a numpy scalar type 3 around the same, a
complex number type 2; an array beyond 2^30 bytes is a map of '__msgpack_chunked_array__', 'shape'
and 'chunks'. Nothing is executed, no size is believed before the bytes have been read, and
entries that are not requested are skipped without being built.
"""

import math
import os
import reprlib
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
import numpy as np

from diffenc_jax.core.errors import InputError, first_line

# The largest published models are near 2 GB: parameters, their averages, and two moments.
MAX_BYTES = 32 * 2**30
MAX_DEPTH = 32
MAX_ENTRIES = 100_000
# Entries of one map. msgpack makes room for as many as a map announces, and does so in up to 1024 nested maps.
MAX_WIDTH = 400
# There are no lists: flax turns them into maps.
LIMITS = dict(max_map_len=MAX_WIDTH, max_array_len=0, max_str_len=256, max_bin_len=256)
ARRAY_LIMITS = dict(max_map_len=0, max_array_len=16, max_ext_len=0)
DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
CHUNKED = "__msgpack_chunked_array__"
PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))


def read_checkpoint(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """The entries `keys` of a checkpoint: nested dicts of numbers and arrays.

    Raises InputError if the file cannot be read, has another form, lacks one of `keys`, or is larger, deeper or of
    more entries than any checkpoint.
    """
    try:
        if path.is_dir():
            raise ValueError("it is a folder, not one file")
        if not path.is_file():  # opening a pipe or a device might never return
            raise ValueError("it is not a regular file" if path.exists() else "there is no such file")
        with path.open("rb") as file:
            return _read(file, keys)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} cannot be read as a flax checkpoint: {error}") from error


def _read(file: BinaryIO, keys: tuple[str, ...]) -> dict[str, Any]:
    """The entries `keys` of the file's only object, a map."""
    size, head = os.fstat(file.fileno()).st_size, file.read(2)
    if not head:
        raise ValueError("it is empty")
    if head in PICKLE:
        raise ValueError("it is a pickle, which is a program, and is not run")
    if not (0x80 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)):
        raise ValueError("it does not begin with a msgpack map")
    if size > MAX_BYTES:
        raise ValueError(f"it has {size} bytes; {MAX_BYTES} are the most that is read")
    file.seek(0)
    hooks = dict(object_pairs_hook=partial(_map, []), ext_hook=_extension)
    unpacker = msgpack.Unpacker(file, max_buffer_size=size, max_ext_len=size, **LIMITS, **hooks)
    found, where = {}, "its top"
    try:
        if (count := unpacker.read_map_header()) > MAX_WIDTH:
            raise ValueError(f"{count} entries are more than {MAX_WIDTH}")
        for _ in range(count):
            where = "its top"
            where = _new_name(unpacker.unpack(), found)
            found[where] = unpacker.unpack() if where in keys else unpacker.skip()
    except (ValueError, msgpack.UnpackException) as error:
        known = {msgpack.OutOfData: "it is cut short", msgpack.StackError: "it is nested too deep"}
        raise ValueError(f"{where}: {known.get(type(error), first_line(error) or type(error).__name__)}") from error
    if unpacker.tell() != size:
        raise ValueError("more follows after its end")
    if missing := [key for key in keys if key not in found]:
        raise ValueError(f"it has no {' and no '.join(missing)}; it has {', '.join(list(found)[:8]) or 'nothing'}")
    return {key: found[key] for key in keys}


def _map(names: list[str], pairs: list[tuple[Any, Any]]) -> dict[str, Any] | np.ndarray:
    """The map, or array in chunks, of the entries `pairs`. Their names join `names`, those of all maps of the file."""
    entries: dict[str, Any] = {}
    for name, value in pairs:
        entries[_new_name(name, entries)] = value
    names.extend(entries)
    if len(names) > MAX_ENTRIES:
        raise ValueError(f"more than {MAX_ENTRIES} entries in all")
    level = [entries]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in outer.values() if isinstance(inner, dict)]
    if level:
        raise ValueError(f"it is more than {MAX_DEPTH} maps deep")
    return _joined(entries) if CHUNKED in entries else entries


def _new_name(name: Any, entries: dict[str, Any]) -> str:
    """`name`; raises ValueError unless it is plain text that is not in `entries`."""
    if not isinstance(name, str) or not name or not name.isprintable() or "/" in name:
        raise ValueError("an entry whose name is not plain text")
    if name in entries:
        raise ValueError(f"two entries {name!r}")
    return name


def _extension(code: int, data: bytes) -> complex | np.ndarray:
    """flax's extension types: 1 an array, 2 a complex number, 3 a numpy scalar (as an array of shape [])."""
    parts = msgpack.unpackb(data, **ARRAY_LIMITS)
    match code, parts:
        case 2, [float(real), float(imaginary)]:
            return complex(real, imaginary)
        case 1 | 3, [shape, dtype, bytes(buffer)]:
            if dtype not in DTYPES:
                raise ValueError(f"an array of type {reprlib.repr(dtype)}; known: {', '.join(DTYPES)}")
            return _reshaped(np.frombuffer(buffer, dtype), shape)
    raise ValueError(f"an extension of type {code} that flax does not write")


def _joined(entries: dict[str, Any]) -> np.ndarray:
    """The array that flax split into flat chunks."""
    shape, chunks = (_listed(entries.get(name)) for name in ("shape", "chunks"))
    if not chunks or not all(isinstance(chunk, np.ndarray) and chunk.dtype == chunks[0].dtype for chunk in chunks):
        raise ValueError("a chunked array without chunks, or of several types")
    return _reshaped(np.concatenate(chunks, axis=None), shape)


def _listed(entries: Any) -> list[Any] | None:
    """The list that flax wrote as {'0': .., '1': ..}; None if it is not one."""
    is_list = isinstance(entries, dict) and list(entries) == [str(i) for i in range(len(entries))]
    return list(entries.values()) if is_list else None


def _reshaped(flat: np.ndarray, shape: Any) -> np.ndarray:
    """`flat` [n] with the axes of `shape`; raises ValueError unless they hold n entries."""
    valid = isinstance(shape, list) and all(type(n) is int and n >= 1 for n in shape)
    if not valid or math.prod(shape) != flat.size:
        raise ValueError(f"an array of {flat.size} entries with the shape {reprlib.repr(shape)}")
    return flat.reshape(shape)
