"""Pickles of dicts of numpy arrays, read without running them.

A pickle is a program that calls what it names. Here the names that numpy's arrays need stand for classes of ours that
keep what they are given, and every other name is refused; numpy itself is handed only what is found to be an array's
shape and bytes. Long strings of bytes stay in the file, mapped.
"""

import math
import mmap
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from diffenc_jax.data import checks

LONG = 2**16
# An object takes up to some 100 bytes: in pieces of 16 bytes on average, all of them take a few times the file's size.
PIECES, BYTES_A_PIECE = 10_000, 16

# Sets and dicts of protocol 0, whose elements are hashed whatever they are, and what the process has registered.
REFUSED = (pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS, pickle.DICT, pickle.EXT1, pickle.EXT2, pickle.EXT4)


class _Kept:
    """What a name stands for: it keeps what it is called with, and the state that it is then given."""

    def __init__(self, *given):
        self.given, self.state = given, None

    def __setstate__(self, state):
        self.state = state


class _Array(_Kept):
    """numpy's array, of state (version, shape, type, in Fortran's order?, bytes)."""


class _FromBuffer(_Kept):
    """numpy's array, from (bytes, type, shape, order), as protocol 5 has it."""


class _Type(_Kept):
    """numpy's type of values."""


class _Encoded(_Kept):
    """Bytes as latin1 text, as Python 3 has them in protocol 2."""


NAMES = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Encoded,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FromBuffer for core in ("core", "_core")},
}


def array(path: Path, key: str) -> np.ndarray:
    """uint8 array `key`, which may be bytes there, of the dict in a pickle of protocol 2 or later.

    Raises:
      InputError: it holds something else, or names what arrays do not need.
    """
    with checks.reading(path, "a pickled batch", ValueError, EOFError, pickle.UnpicklingError):
        with checks.regular(path).open("rb") as file:
            found = _load(file)
        if not isinstance(found, dict):
            raise ValueError(f"it is no dict with {key!r}")
        for name in (key, key.encode()):
            if name in found:
                return _array(found[name], key)
        raise ValueError(f"it has no {key!r}; it has {str(list(found)[:8])[:80]}")


def _array(entry: Any, key: str) -> np.ndarray:
    """The array that is meant; raises ValueError unless its parts agree."""
    if isinstance(entry, _Array) and isinstance(entry.state, tuple) and len(entry.state) == 5:
        _, shape, dtype, fortran, values = entry.state
    elif isinstance(entry, _FromBuffer) and len(entry.given) == 4:
        values, dtype, shape, order = entry.given
        fortran = order == "F"
    else:
        raise ValueError(f"{key!r} is no numpy array")
    name = dtype.given[0] if isinstance(dtype, _Type) and dtype.given else dtype
    if name not in ("u1", b"u1"):
        shown = name if isinstance(name, str | bytes) else type(name).__name__
        raise ValueError(f"{key!r} must be uint8 (u1), values 0 .. 255; it is {shown[:40]}")
    if isinstance(values, _Encoded) and values.given and isinstance(values.given[0], str):
        values = values.given[0].encode("latin1")
    if not isinstance(shape, tuple) or not all(type(n) is int and n > 0 for n in shape):
        raise ValueError(f"{key!r} has no images, or no shape")
    if not isinstance(values, bytes | memoryview) or len(values) != math.prod(shape):
        raise ValueError(f"{key!r} has other than the {math.prod(shape)} bytes of its shape {str(shape)[:60]}")
    return np.frombuffer(values, np.uint8).reshape(shape, order="F" if fortran else "C")


def _load(file: BinaryIO) -> Any:
    """What the pickle holds: dicts, lists, texts and numbers, and `_Kept` things."""
    if file.read(1) != pickle.PROTO:
        raise ValueError("it is no pickle, or one of a protocol before 2")
    try:
        return _Unpickler(_Pieces(file), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError):
        raise
    except Exception as error:  # whatever comes of instructions that make no sense
        raise ValueError(f"it is damaged ({type(error).__name__})") from error


class _Pieces:
    """A file as the unpickler reads it: never more than there is, nor countless small pieces; long ones stay there."""

    def __init__(self, file: BinaryIO):
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._left = PIECES + len(self._map) // BYTES_A_PIECE

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
            raise pickle.UnpicklingError("it is of more and smaller parts than batches of images are")


class _Entries(dict):
    """A dict by text alone: the hash of tuples that are nested deep enough would overflow the stack."""

    def __setitem__(self, key, value):
        if not isinstance(key, str | bytes):
            raise pickle.UnpicklingError("it has a dict with other names than text")
        super().__setitem__(key, value)


class _Unpickler(pickle._Unpickler):
    """Python's own in Python: the one in C can be made to allocate any amount of memory."""

    def find_class(self, module: str, name: str) -> type[_Kept]:
        if (module, name) not in NAMES:
            named = checks.printable(f"{module[:60]}.{name[:60]}")
            raise pickle.UnpicklingError(f"it names {named}, which no image needs, and is not run")
        return NAMES[module, name]

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("it has an instruction that batches of images do not need")

    def _empty_dict(self) -> None:
        self.append(_Entries())

    def _frame(self) -> None:
        self.read(8)  # how much follows that may be read at once

    dispatch = {  # noqa: RUF012  as the base class has it
        **dict.fromkeys(range(256), _refuse),
        **pickle._Unpickler.dispatch,
        **dict.fromkeys(map(ord, REFUSED), _refuse),
        pickle.EMPTY_DICT[0]: _empty_dict,
        pickle.FRAME[0]: _frame,
        pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8,
    }
