"""Pickles of dicts of numpy arrays, read without running them.

A pickle is a program that calls the functions it names. Here the names that numpy's arrays need map to inert classes
that store their arguments, and every other name is refused. numpy itself receives only a checked shape and bytes. Long
byte strings stay in the memory-mapped file.
"""

import math
import mmap
import pickle
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diffenc_jax.core.text import printable
from diffenc_jax.data import checks

LONG = 2**16
# Limit on the number of reads of a file. An object takes about 100 bytes of memory, so at one object per 16 bytes all
# of them take a few times the file's size.
MIN_READS, BYTES_PER_READ = 10_000, 16

# Sets and dicts of protocol 0, which hash arbitrary elements, and the process's registered extensions.
REFUSED = (pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS, pickle.DICT, pickle.EXT1, pickle.EXT2, pickle.EXT4)


class _Inert:
    """Stand-in for a named function or class: it stores its arguments and its state."""

    def __init__(self, *given: Any):
        self.given, self.state = given, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Inert):
    """numpy's array, with state (version, shape, dtype, is Fortran order, bytes)."""


class _FromBuffer(_Inert):
    """numpy's array from (bytes, dtype, shape, order), as in protocol 5."""


class _Type(_Inert):
    """numpy's dtype."""


class _Encoded(_Inert):
    """Bytes as latin1 text, as Python 3 writes them in protocol 2."""


NAMES = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Encoded,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FromBuffer for core in ("core", "_core")},
}


def pickled_array(path: Path, key: str) -> np.ndarray:
    """uint8 array under `key` (text or bytes) of the dict in a pickle of protocol 2 or later.

    Raises InputError if the pickle holds something else, or names functions that arrays do not need.
    """
    with _reading(path):
        return _to_numpy(_entry(path, key), key)


def pickled_integers(path: Path, key: str) -> list[int]:
    """List of whole numbers under `key` of such a dict; raises InputError as `pickled_array` does."""
    with _reading(path):
        labels = _entry(path, key)
        if not isinstance(labels, list) or not all(type(n) is int and abs(n) < 2**31 for n in labels):
            raise ValueError(f"{key!r} is not a list of whole numbers")
        return labels


def _reading(path: Path) -> AbstractContextManager[None]:
    return checks.reading(path, "a pickled batch", ValueError, EOFError, pickle.UnpicklingError)


def _entry(path: Path, key: str) -> Any:
    """The entry under `key`, text or bytes, of the dict in the pickle at `path`; raises ValueError without one."""
    with checks.regular(path).open("rb") as file:
        batch = _load(file)
    if not isinstance(batch, dict):
        raise ValueError(f"it is not a dict with {key!r}")
    for name in (key, key.encode()):
        if name in batch:
            return batch[name]
    raise ValueError(f"it has no {key!r}; it has {str(list(batch)[:8])[:80]}")


def _to_numpy(entry: Any, key: str) -> np.ndarray:
    """numpy array from its stand-in; raises ValueError unless its parts agree."""
    if isinstance(entry, _Array) and isinstance(entry.state, tuple) and len(entry.state) == 5:
        _, shape, dtype, fortran, values = entry.state
    elif isinstance(entry, _FromBuffer) and len(entry.given) == 4:
        values, dtype, shape, order = entry.given
        fortran = order == "F"
    else:
        raise ValueError(f"{key!r} is not a numpy array")
    name = dtype.given[0] if isinstance(dtype, _Type) and dtype.given else dtype
    name = name.decode("latin1") if isinstance(name, bytes) else name if isinstance(name, str) else type(name).__name__
    if name != "u1":
        raise ValueError(f"{key!r} must be uint8 (u1), values 0 .. 255; it is {name[:40]}")
    if isinstance(values, _Encoded) and values.given and isinstance(values.given[0], str):
        values = values.given[0].encode("latin1")
    if not isinstance(shape, tuple) or not all(type(n) is int and n > 0 for n in shape):
        raise ValueError(f"{key!r} has no images, or no shape")
    if not isinstance(values, bytes | memoryview) or len(values) != math.prod(shape):
        raise ValueError(f"{key!r} does not have the {math.prod(shape)} bytes of its shape {str(shape)[:60]}")
    return np.frombuffer(values, np.uint8).reshape(shape, order="F" if fortran else "C")


def _load(file: BinaryIO) -> Any:
    """Contents of a pickle: dicts, lists, strings, numbers and `_Inert` objects."""
    if file.read(1) != pickle.PROTO:
        raise ValueError("it is not a pickle of protocol 2 or later")
    try:
        return _Unpickler(_BoundedReader(file), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError):
        raise
    except Exception as error:  # instructions that make no sense raise anything
        raise ValueError(f"it is damaged ({type(error).__name__})") from error


class _BoundedReader:
    """File for the unpickler: bounds the size and the number of reads; long strings stay memory-mapped."""

    def __init__(self, file: BinaryIO):
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._left = MIN_READS + len(self._map) // BYTES_PER_READ

    def read(self, count: int) -> bytes | memoryview:
        self._count()
        start = self._map.tell()
        if count > len(self._map) - start:
            raise EOFError("it is cut short")
        if count < LONG:
            return self._map.read(count)
        self._map.seek(count, 1)
        return memoryview(self._map)[start : start + count]

    def readline(self) -> bytes:
        self._count()
        return self._map.readline()

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise pickle.UnpicklingError("it has more and smaller parts than a batch of images has")


class _Entries(dict):
    """Dict with string keys only: hashing deeply nested tuples would overflow the stack."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, str | bytes):
            raise pickle.UnpicklingError("it has a dict with keys that are not strings")
        super().__setitem__(key, value)


_Python: Any = pickle._Unpickler


class _Unpickler(_Python):
    """Python's unpickler written in Python: the one in C can be made to allocate any amount of memory."""

    def find_class(self, module: str, name: str) -> type[_Inert]:
        if (module, name) not in NAMES:
            named = printable(f"{module[:60]}.{name[:60]}")
            raise pickle.UnpicklingError(f"it names {named}, which no image needs; it is not run")
        return NAMES[module, name]

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("it has an instruction that batches of images do not need")

    def _empty_dict(self) -> None:
        self.append(_Entries())

    def _frame(self) -> None:
        self.read(8)  # the frame's length, which only serves to read ahead

    dispatch = {  # noqa: RUF012  as in the base class
        **dict.fromkeys(range(256), _refuse),
        **_Python.dispatch,
        **dict.fromkeys(map(ord, REFUSED), _refuse),
        pickle.EMPTY_DICT[0]: _empty_dict,
        pickle.FRAME[0]: _frame,
        pickle.BYTEARRAY8[0]: _Python.load_binbytes8,
    }
