"""Files on disk and objects in a bucket, through the same functions: read, write, list, move and delete.

A path is what `core.buckets.as_path` returns. Every failure is an OSError with a one-line `strerror` and the path as
its `filename`. In a bucket there are no folders: they exist as long as something is in them.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

from diffenc_jax.core.buckets import file_system, is_remote
from diffenc_jax.core.errors import first_line
from diffenc_jax.core.runtime import machine_memory

NO_CREDENTIALS = "no valid credentials for this bucket; run `gcloud auth application-default login`"
NO_PERMISSION = "no permission in this bucket; its owner can grant Storage Object User"


def read(path: Path) -> bytes:
    """Content of a file; raises OSError, also for a pipe or a device, which may have no end."""
    with _errors(path):
        if is_remote(path):
            return file_system().cat_file(str(path))
        check_regular(path)
        return path.read_bytes()


def check_regular(path: Path) -> None:
    """Raise OSError for a pipe, a device, or a file on disk that is larger than the memory of this machine."""
    most = machine_memory()
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if most is not None and path.is_file() and path.stat().st_size > most:
        raise OSError(errno.EFBIG, "it is larger than this machine's memory", str(path))


def write(path: Path, content: bytes | memoryview) -> None:
    """Write a file completely or not at all. In a bucket it is one object."""
    with _errors(path, writes=True):
        if is_remote(path):
            file_system().pipe_file(str(path), bytes(content))
            return
        # An unpredictable name, created exclusively: a link that somebody put there could lead out of the folder. The
        # name is cut, so that it is never longer than the file system allows.
        temporary = path.with_name(f"{path.name[:40]}.{secrets.token_hex(4)}.tmp")
        file = temporary.open("xb")
        try:
            with file:
                file.write(content)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def append(path: Path, content: bytes) -> None:
    """Append to a file on disk, completely or not at all."""
    with _errors(path), path.open("ab", buffering=0) as file:  # a buffer would be written after the file is cut
        size, left = file.tell(), memoryview(content)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            with suppress(OSError):
                os.truncate(path, size)
            raise


def create(path: Path, content: bytes) -> bool:
    """Write an object of a bucket if there is none at `path`; returns whether this call wrote it."""
    try:
        with _errors(path, writes=True):
            file_system().pipe_file(str(path), content, mode="create")
    except FileExistsError:
        # The answer to the first attempt may have been lost; its repetition then finds the object.
        return read(path) == content
    return True


def exists(path: Path) -> bool:
    """Whether there is a file, a folder, or a link that leads nowhere."""
    with _errors(path):
        return file_system().exists(str(path)) if is_remote(path) else os.path.lexists(path)


def is_folder(path: Path) -> bool:
    """Whether there is a folder."""
    if not is_remote(path):
        return path.is_dir()
    with suppress(FileNotFoundError), _errors(path):
        return file_system().info(str(path))["type"] == "directory"
    return False


def changed(path: Path) -> datetime:
    """Time of the last change of an object of a bucket, by the bucket's clock."""
    with _errors(path):
        return file_system().modified(str(path))


def glob(folder: Path, pattern: str) -> list[Path]:
    """Sorted paths in `folder` whose names match a pattern such as '*.json'; empty if there is no such folder."""
    names: list[str] = []
    with suppress(FileNotFoundError), _errors(folder):
        if is_remote(folder):
            names = [entry.rstrip("/").rpartition("/")[2] for entry in file_system().ls(str(folder), detail=False)]
        elif folder.is_dir():
            names = os.listdir(folder)
    return sorted(folder / name for name in names if fnmatchcase(name, pattern))


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, unless they exist."""
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)


def delete(path: Path) -> None:
    """Delete a file, or a folder with its contents, if it exists."""
    with suppress(FileNotFoundError), _errors(path):
        if is_remote(path):
            file_system().rm(str(path), recursive=True)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def move(path: Path, place: Path) -> None:
    """Move a file or a folder to `place`, which must be free.

    In a bucket all objects are copied, by the bucket itself, before the first is deleted: if that is interrupted,
    `path` is complete or `place` is.
    """
    with _errors(path, writes=True):
        if not is_remote(path):
            path.rename(place)
            return
        names = [f"gs://{name}" for name in file_system().find(str(path))]
        for name in names:
            file_system().cp_file(name, str(place) + name.removeprefix(str(path)))
        for name in names:
            file_system().rm_file(name)


def copy_folder(source: Path, target: Path) -> None:
    """Copy the files of a folder on disk into a folder, which may be in a bucket."""
    make_folder(target)
    for path in glob(source, "*"):
        write(target / path.name, read(path))


def identity(path: Path) -> Path:
    """The path with all links resolved, which is the same for all names of a file or folder."""
    return path if is_remote(path) else Path(os.path.realpath(path))


@contextmanager
def _errors(path: Path, writes: bool = False) -> Iterator[None]:
    """Give all errors of a bucket, and the OSErrors of a disk, the form of this module, except FileExistsError."""
    try:
        yield
    except FileExistsError:
        raise
    except Exception as error:  # gcsfs lets errors of four libraries through
        if isinstance(error, FileNotFoundError):
            why = "there is no such bucket" if writes and is_remote(path) else os.strerror(errno.ENOENT)
            raise FileNotFoundError(errno.ENOENT, why, str(path)) from error
        if is_remote(path):
            raise OSError(errno.EIO, _bucket_reason(error), str(path)) from error
        if not isinstance(error, OSError) or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _bucket_reason(error: Exception) -> str:
    """One line for an error of a library that opens a bucket."""
    said = first_line(error)
    code = getattr(error, "code", None)
    if code == 401 or type(error).__name__ in ("RefreshError", "DefaultCredentialsError"):
        return NO_CREDENTIALS
    if code == 403 or said.startswith("Forbidden"):
        return NO_PERMISSION
    return f"the bucket cannot be reached (check its name and the network): {said[:200]}"
