"""Checks of files before their contents are trusted. Every error is one line that names the file."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from diffenc_jax.core.errors import InputError, refusing
from diffenc_jax.core.process import machine_memory
from diffenc_jax.core.text import printable

MOST_LEVELS = 256  # of pixels, which are uint8
CHANNELS, SIDES = (1, 3, 4), range(5, 4097)  # of arrays that are taken for [N, C, H, W] and refused


def refused(what: Path | str, why: str) -> InputError:
    """InputError that the file `what` is refused because of `why`, which may quote the file."""
    return InputError(f"{printable(str(what))} {printable(why)}")


@contextmanager
def reading(what: Path | str, advice: str = "", done: str = "read") -> Iterator[None]:
    """Turn any error of the block into an InputError, as `refusing` does.

    Warnings are not shown.

    Args:
      what: the file or folder that cannot be read.
      advice: what to do.
      done: participle of what cannot be done, such as "written".
    """
    with warnings.catch_warnings(action="ignore"), refusing(f"{printable(str(what))} cannot be {done}", advice):
        yield


def regular(path: Path) -> Path:
    """`path`, if it is a regular file; raises InputError otherwise, since reading a pipe might never end."""
    if not path.is_file():
        raise refused(path, "is no regular file" if path.exists() else "does not exist")
    return path


def as_images(path: Path, array: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
    """Images uint8 [N, H, W, C] of an array [N, H, W, C] or [N, H, W] of whole numbers 0 .. 255, of any type.

    Floats are accepted if they are whole numbers: every value is compared with its conversion. Raises InputError, which
    names the file `path`, for other arrays.

    Args:
      rows: the images to convert and return, by default all. No others are read.
    """
    shape, images = image_shape(path, array.shape), array[rows]
    if images.dtype.kind not in "biuf":
        raise refused(path, f"must hold whole numbers, 0 .. 255; this is {str(images.dtype)[:40]}")
    with np.errstate(invalid="ignore"):
        pixels = images.astype(np.uint8, copy=False)
    if pixels is not images and not np.array_equal(pixels, images):
        raise refused(path, _not_pixels(array))
    return pixels.reshape(-1, *shape[1:])


def image_shape(path: Path, shape: Sequence[int]) -> tuple[int, ...]:
    """[N, H, W, C] of the images in an array of `shape`, [N, H, W, C] or [N, H, W].

    Raises InputError for other shapes, and for shapes that are probably [N, C, H, W].
    """
    if len(shape) not in (3, 4) or 0 in shape:
        raise refused(path, f"must hold images [N, H, W, C] or [N, H, W]; this is {list(shape)}")
    if len(shape) == 4 and shape[1] in CHANNELS and all(side in SIDES for side in shape[2:]):
        raise refused(path, f"holds {list(shape)}, like [N, C, H, W]; save array.transpose(0, 2, 3, 1)")
    return (*shape, 1)[:4]


def _not_pixels(array: np.ndarray) -> str:
    """Part of a message: the range of an array whose values are not all pixels, and what to do."""
    least, greatest = array.min(), array.max()
    if array.dtype.kind != "f":
        step = (int(greatest) - int(least)) // MOST_LEVELS + 1
        divided = "which loses nothing" if step == 1 else f"and divide by {step} with //, which merges levels"
        advice = f"subtract {least}, {divided}, and save them as uint8"
    elif least >= -1 and greatest <= 1:
        advice = "if pixels 0 .. N were scaled, undo that, as by np.round(array * N).astype(np.uint8)"
    else:
        advice = "real-valued data cannot be modelled"
    levels = "whole numbers of 2 to 256 levels, 0 .. 255 (data.pixel_levels)"
    return f"holds {array.dtype} from {least:g} to {greatest:g}, but pixels are {levels}; {advice}"


def as_labels(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Labels [N] of an array of whole numbers, [N] or [N, 1].

    Raises InputError for other arrays; it names the file `path` and the array's `name` in it.
    """
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0:
        it_is = f"{str(labels.dtype)[:20]} {str(list(labels.shape))[:60]}"
        raise refused(path, f"must hold labels [N], whole numbers; {name} is {it_is}")
    return labels


def fits_memory(what: Path | str, shape: Sequence[int]) -> None:
    """Raise InputError if uint8 values of `shape` need more than the machine's memory."""
    size, memory = math.prod(shape), machine_memory()
    if memory is not None and size > memory:
        raise refused(what, f"would take {size / 1e9:.3g} GB of memory, but this machine has {memory / 1e9:.3g} GB")
