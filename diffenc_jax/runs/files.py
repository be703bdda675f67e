"""Files of a workdir in their formats: written completely or not at all, read with one-line errors, and listed."""

import hashlib
import io
import itertools
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffenc_jax.core.errors import InputError
from diffenc_jax.data.checks import machine_memory
from diffenc_jax.display.figures import figure_bytes
from diffenc_jax.runs import storage

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

# Advice for folders that cannot be written to.
OTHER_WORKDIR, MAKE_WRITABLE = "give another --workdir", "make it a folder that can be written to"
TEXT_BYTES = 2**26  # a configuration, a record or a table is never larger
# Errors of reading a damaged .npz file. RuntimeError: encrypted; TypeError: a .npy file; MemoryError: a huge shape.
_NPZ_ERRORS = (OSError, ValueError, EOFError, TypeError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    storage.write(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_arrays(path: Path, **arrays: Any) -> str:
    """Write an .npz file atomically, and return its SHA-256 digest."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    storage.write(path, content.getbuffer())
    return sha256_of(content.getbuffer())


def sha256_of(content: bytes | memoryview) -> str:
    """SHA-256 digest of a content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def free_path(path: Path) -> Path:
    """`path`, or the first of PATH.1, PATH.2, ... that is free if something is there."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
    return next(place for place in itertools.chain([path], numbered) if not storage.exists(place))


def keep_earlier(folder: Path, texts: Mapping[str, str], others: Iterable[str] = ()) -> Path | None:
    """Move files out of the way of others of different content, into a new folder `folder`/earlier.

    Args:
      texts: new content of the files in `folder` by name. Nothing is moved unless one of them has another content.
      others: names of files that belong to them.

    Returns:
      The new folder; None if nothing was moved.
    """
    if all(read_if_present(folder / name) in (b"", text.encode()) for name, text in texts.items()):
        return None
    place = free_path(folder / "earlier")
    storage.make_folder(place)
    for name in (*texts, *others):
        if storage.exists(folder / name):
            storage.move(folder / name, place / name)
    return place


def save_picture(picture: "Image", path: Path, kind: str, **options: Any) -> None:
    """Write a picture as a file of this kind, such as "PNG", with Pillow's options for it."""
    content = io.BytesIO()
    picture.save(content, format=kind, **options)
    storage.write(path, content.getbuffer())


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure to `path`.png and, as vectors, to `path`.pdf, each atomically."""
    for kind in ("png", "pdf"):
        storage.write(path.with_name(f"{path.name}.{kind}"), figure_bytes(figure, kind))


def read_bytes(path: Path, advice: str = "", most: int = storage.MOST) -> bytes:
    """Content of a file; raises InputError, with `advice` on what to do, if it cannot be read or is larger."""
    with _reading(path, advice):
        return storage.read(path, most)


def read_if_present(path: Path, most: int = storage.MOST) -> bytes:
    """Content of a file, empty if there is none; raises InputError as `read_bytes` does."""
    with _reading(path), suppress(FileNotFoundError, NotADirectoryError):
        return storage.read(path, most)
    return b""


def exists(path: Path) -> bool:
    """Whether there is a file or a folder; raises InputError if that cannot be found out."""
    with _reading(path):
        return storage.exists(path)


def is_folder(path: Path) -> bool:
    """Whether there is a folder; raises InputError if that cannot be found out."""
    with _reading(path):
        return storage.is_folder(path)


def read_text(path: Path, advice: str = "") -> str:
    """Content of a text file; raises InputError as `read_bytes` does."""
    content = read_bytes(path, advice, TEXT_BYTES)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InputError(_with_advice(f"{path} is not a text file", advice)) from error


def read_json(path: Path, advice: str = "") -> Any:
    """Value of a JSON file; raises InputError as `read_bytes` does."""
    content = read_bytes(path, advice, TEXT_BYTES)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(_with_advice(f"{path} is not JSON ({error})", advice)) from error


def read_arrays(content: bytes) -> dict[str, np.ndarray] | None:
    """Arrays by name of an .npz file with this content; None if it is damaged or does not fit in memory."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size, memory = sum(entry.file_size for entry in archive.infolist()), machine_memory()
        if memory is not None and size > memory:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except _NPZ_ERRORS:
        return None


def list_paths(folder: Path, pattern: str) -> list[Path]:
    """`storage.glob`; raises InputError if the folder cannot be listed."""
    with _reading(folder):
        return storage.glob(folder, pattern)


def check_writable(folder: Path, advice: str = MAKE_WRITABLE) -> None:
    """Create `folder` if necessary; raise InputError with `advice` if nothing can be written to it."""
    with writing(folder, advice):
        storage.try_to_write(folder)


@contextmanager
def writing(folder: Path, advice: str = OTHER_WORKDIR) -> Iterator[None]:
    """Create `folder` if necessary and turn an OSError of the block into an InputError with `advice`."""
    try:
        storage.make_folder(folder)
        yield
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {error.strerror}; {advice}") from error


@contextmanager
def _reading(path: Path, advice: str = "") -> Iterator[None]:
    """Turn an OSError of the block into an InputError with `advice`."""
    try:
        yield
    except OSError as error:
        raise InputError(_with_advice(f"{path} cannot be read: {error.strerror}", advice)) from error


def _with_advice(message: str, advice: str) -> str:
    return f"{message}; {advice}" if advice else message
