"""Checks of files before their contents are trusted. Every error is one line that names the file."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from diffenc_jax.core.errors import InputError, first_line
from diffenc_jax.core.process import machine_memory
from diffenc_jax.core.text import printable

LONGEST = 200  # characters of a library's message
CHANNELS, SIDES = (1, 3, 4), range(5, 4097)  # of images whose axes are in another order


def refused(what: Path | str, why: str) -> InputError:
    """InputError that the file `what` is refused because of `why`, which may quote the file."""
    return InputError(f"{printable(str(what))} {printable(why)}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn any error into an InputError that `path` cannot be read: decoders raise undocumented exceptions."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said = getattr(error, "strerror", None) or first_line(error) or type(error).__name__
        raise refused(path, f"cannot be read: {said[:LONGEST]}") from error


def regular(path: Path) -> Path:
    """`path`, if it is a regular file; raises InputError otherwise, since reading a pipe might never end."""
    if not path.is_file():
        raise refused(path, "is no regular file" if path.exists() else "does not exist")
    return path


def as_images(path: Path, array: np.ndarray) -> np.ndarray:
    """Images [N, H, W, C] of uint8 [N, H, W, C] or [N, H, W]; raises InputError for other arrays of the file `path`.

    Shapes that can be told to be [N, C, H, W] are refused too.
    """
    shape = list(array.shape)
    if array.dtype != np.uint8:
        advice = "save the unscaled pixels, as by array.astype(np.uint8)"
        raise refused(path, f"must hold uint8, values 0 .. 255; this is {str(array.dtype)[:40]}; {advice}")
    if len(shape) not in (3, 4) or 0 in shape:
        raise refused(path, f"must hold images [N, H, W, C] or [N, H, W]; this is {shape}")
    if len(shape) == 4 and shape[1] in CHANNELS and all(side in SIDES for side in shape[2:]):
        raise refused(path, f"holds {shape}, like [N, C, H, W]; save array.transpose(0, 2, 3, 1)")
    return array[..., None] if len(shape) == 3 else array


def as_labels(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Labels [N] of whole numbers [N] or [N, 1]; raises InputError for other arrays `name` of the file `path`."""
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0:
        it_is = f"{str(labels.dtype)[:20]} {str(list(labels.shape))[:60]}"
        raise refused(path, f"must hold labels [N], whole numbers; {name} is {it_is}")
    return labels


def fits_memory(what: str, shape: Sequence[int]) -> None:
    """Raise InputError if uint8 values of `shape` need more than the machine's memory."""
    size, memory = math.prod(shape), machine_memory()
    if memory is not None and size > memory:
        raise refused(what, f"would take {size / 1e9:.3g} GB of memory, but this machine has {memory / 1e9:.3g} GB")
