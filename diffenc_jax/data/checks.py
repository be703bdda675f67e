"""What is asked of a file before its contents are believed; every refusal is one line that names it."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path

import numpy as np

from diffenc_jax.errors import InputError, first_line

LONGEST = 200  # characters of what a library says
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def refused(what: Path | str, why: str) -> InputError:
    """The error that says `why` the file `what` is refused; names in it may come from the file itself."""
    return InputError(f"{printable(str(what))} {printable(why)}")


def printable(text: str) -> str:
    """`text` on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


@contextmanager
def reading(path: Path, kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Whatever of `errors`, or of the operating system, is raised within says that `path` cannot be read as `kind`."""
    try:
        yield
    except InputError:
        raise
    except (OSError, *errors) as error:
        said = getattr(error, "strerror", None) or first_line(error) or type(error).__name__
        raise refused(path, f"cannot be read as {kind}: {said[:LONGEST]}") from error


def regular(path: Path, folder: Path | None = None) -> Path:
    """`path`, if it is a file, and no link that leads out of `folder`.

    Raises:
      InputError: it is another thing; a pipe or a device might be read for ever.
    """
    with reading(path, "a file"):
        if path.is_dir():
            raise refused(path, "is a folder, where a file should be")
        if not path.is_file():
            raise refused(path, "is no regular file" if path.exists() else "does not exist")
        return path if folder is None else inside(path, folder)


def inside(path: Path, folder: Path) -> Path:
    """`path`, of something in `folder`; raises InputError if a link on the way leads out of it."""
    steps = accumulate(path.relative_to(folder).parts, Path.joinpath, initial=folder)
    linked = any(step.is_symlink() for step in islice(steps, 1, None))
    if linked and not path.resolve().is_relative_to(folder.resolve()):
        raise refused(path, f"leads out of the folder by a link; put the images themselves into {folder}")
    return path


def images(path: Path, shape: Sequence[int], dtype: np.dtype) -> None:
    """Raises InputError unless they are those of uint8 images [N, H, W, C] or [N, H, W]."""
    if dtype != np.uint8:
        raise refused(path, f"must hold uint8, values 0 .. 255; this is {str(dtype)[:40]}")
    if len(shape) not in (3, 4) or min(shape) < 0:
        raise refused(path, f"must hold images [N, H, W, C] or [N, H, W]; this is {str(list(shape))[:80]}")
    if 0 in shape:
        raise refused(path, f"holds no images: its shape is {list(shape)}")


def fits(what: Path | str, shape: Sequence[int]) -> None:
    """Raises InputError if uint8 values of `shape` are more than the machine's memory."""
    size, memory = math.prod(shape), machine_memory()
    if memory is not None and size > memory:
        raise refused(what, f"would take {_gb(size)} of memory, and this machine has {_gb(memory)}")


def machine_memory() -> int | None:
    """Bytes of memory that this machine, or the container that we are in, has; None where it does not say."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        return min(physical, int(CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without limit
        return physical


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
