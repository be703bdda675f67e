"""Checks of files before their contents are trusted. Every error is one line that names the file."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice
from pathlib import Path

import numpy as np

from diffenc_jax.core.errors import InputError, first_line
from diffenc_jax.core.process import machine_memory
from diffenc_jax.core.text import printable

LONGEST = 200  # characters of a library's message
UNSCALED = "save the unscaled pixels, as by array.astype(np.uint8)"
WANTED = "must hold images [N, H, W, C] or [N, H, W]"
CHANNELS, SIDES = (1, 3, 4), range(5, 4097)  # of images whose axes are in another order


def refused(what: Path | str, why: str) -> InputError:
    """InputError that the file `what` is refused because of `why`, which may quote the file."""
    return InputError(f"{printable(str(what))} {printable(why)}")


@contextmanager
def reading(path: Path, kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn `errors` and OSError into an InputError that `path` cannot be read as `kind`."""
    try:
        yield
    except InputError:
        raise
    except (OSError, *errors) as error:  # type: ignore[misc]
        said = getattr(error, "strerror", None) or first_line(error) or type(error).__name__
        raise refused(path, f"cannot be read as {kind}: {said[:LONGEST]}") from error


def regular(path: Path, folder: Path | None = None) -> Path:
    """`path`, if it is a regular file and not a link that leads out of `folder`.

    Raises InputError if it is something else: reading a pipe or a device might never end.
    """
    with reading(path, "a file"):
        if path.is_dir():
            raise refused(path, "is a folder, where a file should be")
        if not path.is_file():
            raise refused(path, "is no regular file" if path.exists() else "does not exist")
        return path if folder is None else inside(path, folder)


def inside(path: Path, folder: Path) -> Path:
    """`path` in `folder`; raises InputError if a link on the way leads out of the folder."""
    steps = accumulate(path.relative_to(folder).parts, Path.joinpath, initial=folder)
    linked = any(step.is_symlink() for step in islice(steps, 1, None))
    if linked and not path.resolve().is_relative_to(folder.resolve()):
        raise refused(path, f"leads out of the folder by a link; put the images themselves into {folder}")
    return path


def are_images(path: Path, shape: Sequence[int], dtype: np.dtype) -> None:
    """Raise InputError unless `shape` and `dtype` are those of uint8 images [N, H, W, C] or [N, H, W].

    Shapes that can be told to be [H, W, C] or [N, C, H, W] are refused too.
    """
    if dtype != np.uint8:
        raise refused(path, f"must hold uint8, values 0 .. 255; this is {str(dtype)[:40]}; {UNSCALED}")
    if len(shape) not in (3, 4) or min(shape) < 0:
        raise refused(path, f"{WANTED}; this is {str(list(shape))[:80]}")
    if 0 in shape:
        raise refused(path, f"holds no images: its shape is {list(shape)}")
    if len(shape) == 3 and shape[2] in CHANNELS and all(side in SIDES for side in shape[:2]):
        raise refused(path, f"{WANTED}; this is {list(shape)}, like one image [H, W, C]: put all images into one array")
    if len(shape) == 4 and shape[1] in CHANNELS and all(side in SIDES for side in shape[2:]):
        raise refused(path, f"{WANTED}; this is {list(shape)}, like [N, C, H, W]: save array.transpose(0, 2, 3, 1)")


def fits_memory(what: Path | str, shape: Sequence[int]) -> None:
    """Raise InputError if uint8 values of `shape` need more than the machine's memory."""
    size, memory = math.prod(shape), machine_memory()
    if memory is not None and size > memory:
        raise refused(what, f"would take {_gb(size)} of memory, but this machine has {_gb(memory)}")


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
