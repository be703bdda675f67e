"""Files of a workdir: written completely or not at all, read with one-line errors, and listed."""

import hashlib
import io
import itertools
import json
import secrets
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from diffenc_jax.core.errors import InputError
from diffenc_jax.display.figures import figure_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Advice for folders that cannot be written to.
OTHER_WORKDIR, MAKE_WRITABLE = "give another --workdir", "make it a folder that can be written to"
# Errors of reading a damaged .npz file. RuntimeError: encrypted; TypeError: a .npy file.
_NPZ_ERRORS = (OSError, ValueError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """File to write to, which appears at `path` when the block ends without an error."""
    # A name that nobody can foresee, created exclusively: a link that was put there could lead out of the folder.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    file = temporary.open("xb")
    try:
        with file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_arrays(path: Path, **arrays: Any) -> str:
    """Write an .npz file atomically, and return its SHA-256 digest."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    with atomic_write(path) as file:
        file.write(content.getbuffer())
    return sha256_of(content.getbuffer())


def sha256_of(content: bytes | memoryview) -> str:
    """SHA-256 digest of a content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def free_path(path: Path) -> Path:
    """`path`, or the first of PATH.1, PATH.2, ... that is free if something is there."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
    return next(place for place in itertools.chain([path], numbered) if not place.exists())


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
    place.mkdir()
    for name in (*texts, *others):
        if (folder / name).exists():
            (folder / name).rename(place / name)
    return place


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure to `path`.png and, as vectors, to `path`.pdf, each atomically."""
    for kind in ("png", "pdf"):
        with atomic_write(path.with_name(f"{path.name}.{kind}")) as file:
            file.write(figure_bytes(figure, kind))


def read_bytes(path: Path, advice: str = "") -> bytes:
    """Content of a file; raises InputError if it cannot be read, with `advice` on what to do."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(_with_advice(f"{path} cannot be read: {error.strerror}", advice)) from error


def read_if_present(path: Path) -> bytes:
    """Content of a file, empty if there is none; raises InputError as `read_bytes` does."""
    return read_bytes(path) if path.exists() else b""


def read_text(path: Path, advice: str = "") -> str:
    """Content of a text file; raises InputError as `read_bytes` does."""
    content = read_bytes(path, advice)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InputError(_with_advice(f"{path} is not a text file", advice)) from error


def read_json(path: Path, advice: str = "") -> Any:
    """Value of a JSON file; raises InputError as `read_bytes` does."""
    content = read_bytes(path, advice)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(_with_advice(f"{path} is not JSON ({error})", advice)) from error


def read_arrays(content: bytes) -> dict[str, np.ndarray] | None:
    """Arrays by name of an .npz file with this content; None if it is damaged."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return dict(archive)
    except _NPZ_ERRORS:
        return None


def list_paths(folder: Path, pattern: str) -> list[Path]:
    """Sorted paths below `folder` that match a glob pattern; empty if there is no such folder."""
    return sorted(folder.glob(pattern))


def check_writable(folder: Path) -> None:
    """Create `folder` if necessary; raise InputError if nothing can be written to it."""
    with writing(folder, MAKE_WRITABLE), tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def writing(folder: Path, advice: str = OTHER_WORKDIR) -> Iterator[None]:
    """Create `folder` if necessary and turn an OSError of the block into an InputError with `advice`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {error.strerror}; {advice}") from error


def _with_advice(message: str, advice: str) -> str:
    return f"{message}; {advice}" if advice else message
