"""Files of a workdir in their formats: written completely or not at all, read with one-line errors, and listed."""

import hashlib
import io
import itertools
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from diffenc_jax.core.errors import InputError, advised, reason, require
from diffenc_jax.core.runtime import machine_memory
from diffenc_jax.core.text import CONTROLS, has_controls
from diffenc_jax.runs import storage

# Advice for folders that cannot be written to.
OTHER_WORKDIR, MAKE_WRITABLE = "give another --workdir", "make it a folder that can be written to"
LARGEST = 2**63  # of integers in JSON files


class Missing(InputError):
    """A file does not exist."""


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    storage.write(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_arrays(path: Path, /, **arrays: Any) -> str:
    """Write an .npz file atomically, and return its SHA-256 digest."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    storage.write(path, content.getbuffer())
    return sha256_of(content.getbuffer())


def sha256_of(content: bytes | memoryview) -> str:
    """SHA-256 digest of a content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def free_path(path: Path) -> Path:
    """The first free path of `path`, PATH.1, PATH.2, ..."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
    return next(place for place in itertools.chain([path], numbered) if not storage.exists(place))


def read_bytes(path: Path, advice: str = "") -> bytes:
    """Content of a file; raises InputError with `advice` if it cannot be read, and Missing if it does not exist."""
    with _reading(path, advice):
        return storage.read(path)


def read_if_present(path: Path, advice: str = "") -> bytes:
    """Content of a file, empty if there is none; raises InputError as `read_bytes` does."""
    try:
        return read_bytes(path, advice)
    except Missing:
        return b""


def exists(path: Path) -> bool:
    """Whether there is a file or a folder; raises InputError if that cannot be found out."""
    with _reading(path):
        return storage.exists(path)


def is_folder(path: Path) -> bool:
    """Whether there is a folder; raises InputError if that cannot be found out."""
    with _reading(path):
        return storage.is_folder(path)


def read_json(path: Path, advice: str = "") -> Any:
    """Value of a JSON file; raises InputError as `read_bytes` does."""
    return parse_file(path, read_bytes(path, advice), advice)


def parse_file(path: Path, content: bytes, advice: str = "") -> Any:
    """Value of `content`, the JSON text of the file at `path`; raises InputError with `advice` if it is not JSON."""
    try:
        return parse_json(content)
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}){advice and '; '}{advice}") from error


def parse_json(content: bytes | str) -> Any:
    """Value of a JSON text.

    Raises ValueError, also for huge integers, control characters, too deep nesting, and a key that an object has twice.
    """
    try:
        value = json.loads(content, parse_int=_parse_int, object_pairs_hook=_parse_object)
        if has_controls(value):
            raise ValueError("a text in it holds control characters")
    except RecursionError as error:
        raise ValueError("its values are nested too deeply") from error
    return value


def _parse_int(digits: str) -> int:
    if abs(int(digits)) >= LARGEST:  # int() raises ValueError for thousands of digits
        raise ValueError("it holds an integer of more than 64 bits")
    return int(digits)


def _parse_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, member in pairs:
        if name in value:
            raise ValueError(f"the key {name!r} is in it twice")
        value[name] = member
    return value


def read_arrays(content: bytes, packed: bool = False) -> dict[str, np.ndarray] | None:
    """Arrays by name of an .npz file; None if it is damaged, or if its arrays are larger than allowed.

    Args:
      packed: whether the arrays may be compressed. They may then be as large as the memory, otherwise as the file.
    """
    most = machine_memory() if packed else len(content)
    try:
        with np.load(io.BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.zip.infolist())
            arrays = {} if most is not None and unpacked > most else dict(archive)
    except Exception:  # noqa: BLE001  zipfile and numpy raise errors of many kinds
        return None
    return arrays if arrays and all(isinstance(array, np.ndarray) for array in arrays.values()) else None


def list_paths(folder: Path, pattern: str) -> list[Path]:
    """Paths of `storage.glob`.

    Raises InputError if the folder cannot be listed, or if a name holds control characters.
    """
    with _reading(folder):
        paths = storage.glob(folder, pattern)
    for path in paths:
        hostile = CONTROLS.search(str(path.relative_to(folder)))
        require(hostile is None, f"{path} has a name with control characters; rename or delete it")
    return paths


def check_writable(folder: Path, advice: str = MAKE_WRITABLE) -> None:
    """Create `folder` if necessary; raise InputError with `advice` if nothing can be written to it."""
    trial = folder / f".{secrets.token_hex(4)}.trial"
    with writing(folder, advice):
        storage.write(trial, b"")
        storage.delete(trial)


@contextmanager
def writing(folder: Path, advice: str = OTHER_WORKDIR) -> Iterator[None]:
    """Create `folder` if necessary and turn an OSError of the block into an InputError with `advice`."""
    try:
        storage.make_folder(folder)
        yield
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {reason(error)}; {advice}") from error


@contextmanager
def _reading(path: Path, advice: str = "") -> Iterator[None]:
    """Turn an OSError of the block into an InputError with `advice`."""
    try:
        yield
    except OSError as error:
        kind = Missing if isinstance(error, FileNotFoundError | NotADirectoryError) else InputError
        raise kind(f"{path} cannot be read: {advised(error, advice)}") from error
