"""Files on disk and objects in a bucket, through the same functions: read, write, list, move and delete.

A path is what `core.buckets.as_path` returns. Every failure is an OSError with a one-line `strerror` and the path as
its `filename`. In a bucket there are no folders: they exist as long as something is in them.
"""

import errno
import io
import itertools
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from diffenc_jax.core.buckets import file_system, is_remote
from diffenc_jax.core.errors import first_line

if TYPE_CHECKING:
    from gcsfs import GCSFileSystem

MOST = 2**40  # bytes that are read at most, unless a caller knows better
NO_CREDENTIALS = "no valid credentials for this bucket; run `gcloud auth application-default login`"
NO_PERMISSION = (
    "no permission in this bucket; its owner can grant the roles Storage Object User and Storage Legacy Bucket Reader"
)


def read(path: Path, most: int = MOST) -> bytes:
    """Content of a regular file of at most `most` bytes; raises OSError for anything else."""
    with opened(path, most) as file:
        return file.read()


@contextmanager
def opened(path: Path, most: int = MOST) -> Iterator[BinaryIO]:
    """A regular file of at most `most` bytes, to read from; raises OSError for anything else."""
    with ExitStack() as stack:
        file: BinaryIO
        if is_remote(path):
            with _bucket(path) as bucket:
                file = io.BytesIO(bucket.cat_file(str(path)))
        else:  # a pipe without a writer would block, and a device might never end
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            file = stack.enter_context(os.fdopen(handle, "rb"))
            stack.enter_context(_naming(path))
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
        size = file.seek(0, os.SEEK_END)
        if size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, of which at most {most:,} are read", str(path))
        file.seek(0)
        yield file


def tail(path: Path, most: int) -> bytes:
    """The last `most` bytes of a file, empty if there is no file."""
    with suppress(FileNotFoundError), opened(path) as file:
        file.seek(-min(most, file.seek(0, os.SEEK_END)), os.SEEK_END)
        return file.read()
    return b""


def write(path: Path, content: bytes | memoryview) -> None:
    """Write a file completely or not at all. In a bucket it is one object."""
    if is_remote(path):
        with _bucket(path, writes=True) as bucket:
            bucket.pipe_file(str(path), bytes(content))
        return
    # A name that nobody can foresee, created exclusively: a link that was put there could lead out of the folder.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    with _naming(path):
        file = temporary.open("xb")
        try:
            with file:
                file.write(content)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def try_to_write(folder: Path) -> None:
    """Create `folder` if necessary, and write a file to it that is deleted again; raises OSError."""
    trial = folder / f".{secrets.token_hex(4)}.trial"
    make_folder(folder)
    write(trial, b"")
    delete(trial)


def append(path: Path, content: bytes) -> None:
    """Append to a file on disk, completely or not at all."""
    with _naming(path), path.open("ab", buffering=0) as file:  # a buffer would be written after the file is cut
        size, left = file.tell(), memoryview(content)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            with suppress(OSError):
                os.truncate(path, size)
            raise


def create(path: Path, content: bytes) -> bool:
    """Write an object of a bucket if there is none at `path`; whether it was written, by this call, is returned."""
    try:
        with _bucket(path, writes=True) as bucket:
            bucket.pipe_file(str(path), content, mode="create")
    except FileExistsError:
        # The answer to the first attempt may have been lost; its repetition then finds the object.
        return read(path) == content
    return True


def exists(path: Path) -> bool:
    """Whether there is a file, a folder, or a link that leads nowhere."""
    if is_remote(path):
        with _bucket(path) as bucket:
            return bucket.exists(str(path))
    return os.path.lexists(path)


def is_folder(path: Path) -> bool:
    """Whether there is a folder."""
    if is_remote(path):
        with _bucket(path) as bucket, suppress(FileNotFoundError):
            return bucket.info(str(path))["type"] == "directory"
        return False
    return path.is_dir()


def changed(path: Path) -> datetime:
    """Time of the last change of an object of a bucket, by the bucket's clock."""
    with _bucket(path) as bucket:
        return bucket.modified(str(path))


def glob(folder: Path, pattern: str) -> list[Path]:
    """Sorted paths below `folder` that match a pattern such as '*/config.json'; empty if there is no such folder."""
    if not is_remote(folder):
        return sorted(folder.glob(pattern))
    first, _, rest = pattern.partition("/")
    if "*" in first:
        paths = [folder / name for name in _names(folder) if fnmatchcase(name, first)]
    else:
        paths = [folder / first]
    if rest:
        return sorted(itertools.chain.from_iterable(glob(path, rest) for path in paths))
    return sorted(path for path in paths if "*" in first or exists(path))


def _names(folder: Path) -> list[str]:
    with _bucket(folder) as bucket:
        try:
            return [entry.rstrip("/").rpartition("/")[2] for entry in bucket.ls(str(folder), detail=False)]
        except FileNotFoundError:
            return []


def make_folder(folder: Path) -> None:
    """Create a folder, and those that it is in, unless they exist."""
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)


def delete(path: Path) -> None:
    """Delete a file, or a folder with all that is in it, if it exists."""
    if is_remote(path):
        with _bucket(path, writes=True) as bucket, suppress(FileNotFoundError):
            bucket.rm(str(path), recursive=True)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def move(path: Path, place: Path) -> None:
    """Move a file or a folder to `place`, where nothing is.

    In a bucket all objects are copied, by the bucket itself, before the first is deleted: if that is interrupted,
    `path` is complete or `place` is.
    """
    if not is_remote(path):
        path.rename(place)
        return
    with _bucket(path, writes=True) as bucket:
        names = [f"gs://{name}" for name in bucket.find(str(path))]
        for name in names:
            bucket.cp_file(name, str(place) + name.removeprefix(str(path)))
        for name in names:
            bucket.rm_file(name)


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """A file on disk with the content of `path`: itself, or a temporary copy of an object of a bucket."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(read(path))
        yield copy


def copy_folder(source: Path, target: Path) -> list[Path]:
    """Copy the files of a folder on disk into a folder, which may be in a bucket; returns those of `source`."""
    make_folder(target)
    paths = glob(source, "*")
    for path in paths:
        write(target / path.name, read(path))
    return paths


def identity(path: Path) -> Path:
    """The path that all names of a file or folder have in common: links are followed."""
    return path if is_remote(path) else Path(os.path.realpath(path))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give `path` as `filename` to the OSErrors of the block: those of reading and writing have none."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def _bucket(path: Path, writes: bool = False) -> Iterator["GCSFileSystem"]:
    """The file system of buckets, whose errors become OSErrors. FileExistsError is raised as it is."""
    try:
        yield file_system()
    except FileExistsError:
        raise
    except FileNotFoundError as error:
        why = "there is no such bucket" if writes else os.strerror(errno.ENOENT)
        raise FileNotFoundError(errno.ENOENT, why, str(path)) from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno or errno.EIO, bucket_reason(error), str(path)) from error
    except Exception as error:  # gcsfs lets errors of four libraries through
        raise OSError(errno.EIO, bucket_reason(error), str(path)) from error


def bucket_reason(error: Exception) -> str:
    """One line for an error of a library that opens a bucket."""
    said = first_line(error) or type(error).__name__
    code = getattr(error, "code", None)
    if code == 401 or type(error).__name__ in ("RefreshError", "DefaultCredentialsError"):
        return NO_CREDENTIALS
    if code == 403 or said.startswith("Forbidden"):
        return NO_PERMISSION
    return f"the bucket cannot be reached (check its name and the network): {said[:200]}"
