"""Checks of files before their contents are trusted. Every error is one line that names the file."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.core.errors import InputError, refusing, require
from diffenc_jax.core.runtime import machine_memory
from diffenc_jax.core.text import printable
from diffenc_jax.diffusion.standard import Standard

MOST_LEVELS = 256  # of pixels, which are uint8
# Real numbers are judged by about so many values of each feature, from so many rows at least.
MOST_COMPARED, LEAST_ROWS = 100_000, 100
FARTHEST = 1e18  # standard deviations from the mean; sums of squares are finite in float32
LEAST_KEPT = 0.75  # share of the different values that still differ in float32
LARGEST_STEP = 0.002  # standard deviations; the noise of γ_0, 0.0013 by default, hides smaller steps
# A value may be in this share of the rows, or occur this often. Values are rounded if no two of n differ by less than
# CLOSEST / n² standard deviations, since the least difference of values from a density is about 3 / n². Rounded values
# occur more often.
LARGEST_TIE, MOST_TIED, MOST_TIED_ROUNDED, CLOSEST = 0.005, 2, 9, 10
NO_FILL_VALUES = "remove such rows, or take the logarithm of a feature with a heavy tail"
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


class Form(NamedTuple):
    """The form of arrays in files: images of whole numbers, or real numbers.

    Attributes:
      shape: (path, shape of an array) -> [N, ...]; raises InputError for shapes that the form does not have.
      rows: (path, array, rows) -> these rows of an array, checked.
      least_axes: number of axes that an array of data has at least.
    """

    shape: Callable[[Path, Sequence[int]], tuple[int, ...]]
    rows: Callable[[Path, np.ndarray, slice], np.ndarray]
    least_axes: int


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


def as_reals(path: Path, array: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
    """Rows of an array of real numbers, as they are; raises InputError, which names the file `path`, for other arrays.

    Args:
      rows: the rows to return, by default all. No others are read.
    """
    real_shape(path, array.shape)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        noise = "add noise that is uniform over the distance between two values"
        images = "for pixels 0 .. 255, take a configuration of images, such as fashion_mnist_small"
        what_to_do = f"{noise}; or, {images}" if array.dtype.kind in "biu" else "save float32 or float64"
        raise refused(path, f"must hold real numbers, and this is {str(array.dtype)[:40]}; {what_to_do}")
    return array[rows].astype(np.float64 if array.dtype.itemsize > 4 else np.float32, copy=False)


def real_shape(path: Path, shape: Sequence[int]) -> tuple[int, ...]:
    """`shape` itself, [N, D], [N, L, C] or [N, H, W, C]; raises InputError for others."""
    if len(shape) not in (2, 3, 4) or 0 in shape:
        raise refused(path, f"must hold vectors [N, D], series [N, L, C] or fields [N, H, W, C]; this is {list(shape)}")
    return tuple(shape)


IMAGES, REALS = Form(image_shape, as_images, 3), Form(real_shape, as_reals, 2)


def as_numbers(what: str, values: Any) -> np.ndarray:
    """Array of real or whole numbers that a caller gives; raises InputError, which begins with `what`, for others."""
    masked = f"{what} are a masked array, whose mask would be lost; leave out the masked rows"
    require(not isinstance(values, np.ma.MaskedArray), masked)
    with refusing(f"{what} are no array", "give rows of the same length"):
        array = np.asarray(values)
    suits = array.dtype.kind in "fiu" and array.dtype.itemsize <= 8
    require(suits, f"{what} are {array.dtype.name[:20]}; give an array of real or whole numbers of at most 64 bits")
    return array


def check_finite(what: str, data: np.ndarray, rows: np.ndarray | None = None) -> None:
    """Raise InputError, which begins with `what`, unless the real numbers `data` are finite.

    Args:
      rows: number of each row in a message, by default from 0.
    """
    bad = ~np.isfinite(data)
    if bad.any():
        row, *rest = np.argwhere(bad)[0]
        place = ", ".join(map(str, [row if rows is None else rows[row], *rest]))
        raise InputError(f"{what}: {bad.sum()} values are NaN or infinite, the first at [{place}]; remove these rows")


def check_reals(what: str, data: np.ndarray, rows: np.ndarray, standard: Standard, have_density: bool) -> None:
    """Raise InputError, which begins with `what`, unless real numbers [N, ..., C] suit networks, which see float32.

    They must be finite, and `standard` must suit them. Standardised, they must be finite in float32, and most different
    values must still differ there. A far outlier makes all other values equal. All this holds for each entry of the
    last axis, a feature or a channel.

    Args:
      rows: number of each row in a message.
      have_density: whether the data must also be as `_check_density` says.
    """
    check_finite(what, data, rows)
    standard.check(what, data.shape[-1], "take another unit, or leave it out if it is constant")
    axes = tuple(range(data.ndim - 1))
    ends = standard.single(np.stack([data.min(axis=axes), data.max(axis=axes)]))
    for number, far in enumerate(np.abs(ends).max(axis=0) > FARTHEST):
        name, column = f"{what}: [..., {number}]", data[..., number]
        mean, deviation = standard.mean[number], standard.deviation[number]
        if far:
            too_far = f"{_farthest(column, rows, mean)}, is too far from the mean {mean:g} of the training data"
            raise InputError(f"{name}: {too_far} for float32; {NO_FILL_VALUES}")
        values, counts = _different(column)
        kept, first = np.unique(Standard((mean,), (deviation,)).single(values), return_index=True)
        count, equal = len(values), np.diff(first, append=len(values))  # `equal`: how many values become one value
        if len(kept) < LEAST_KEPT * count or equal.max() > max(MOST_TIED_ROUNDED, LARGEST_TIE * count):
            lost = f"only {len(kept)} of {count} values differ in float32, divided by the deviation {deviation:g}"
            far_off = _farthest(column, rows, values[first[equal.argmax()]])
            raise InputError(f"{name}: {lost}, because of {far_off}; {NO_FILL_VALUES}")
        if have_density:
            _check_density(name, column, rows, values, counts, float(np.diff(kept).min(initial=np.inf)))


def _check_density(
    name: str, column: np.ndarray, rows: np.ndarray, values: np.ndarray, counts: np.ndarray, step: float
) -> None:
    """Raise InputError unless the values of a feature [N, ...] can come from a density.

    They may not be constant, be rounded to multiples of a step above LARGEST_STEP, or have a frequent value: the
    density would be infinite there, and the likelihood would say only how narrow the model is.

    Args:
      values, counts: different values of a sample, and how often each occurs.
      step: least difference between two of them, in standard deviations.
    """
    require(len(values) > 1, f"{name} is constant, {values[0]:g}; leave it out")
    most, size = int(counts.max()), int(counts.sum())
    is_rounded = most > 1 and step > CLOSEST / size**2
    rounded = f"{name} is rounded to multiples of {np.diff(values).min():g}, {step:.3g} standard deviations"
    noise = "add noise that is uniform over this width, or leave it out"
    require(not is_rounded or step <= LARGEST_STEP, f"{rounded}, and {LARGEST_STEP} are allowed; {noise}")
    if most > max(MOST_TIED_ROUNDED if is_rounded else MOST_TIED, LARGEST_TIE * size):
        frequent = values[counts.argmax()]
        row = rows[(column == frequent).argmax() // (column.size // len(column))]
        times = f"{name} has {most} times the value {frequent + 0.0:g} in {size}, first in row {row}"
        raise InputError(f"{times}, which no density gives; if it is a fill value, remove these rows; or leave it out")


def _different(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different values [n] of a feature [N, ...] and how often each occurs, among all or about MOST_COMPARED values.

    Values that differ by rounding are one.
    """
    rows = max(LEAST_ROWS, MOST_COMPARED // math.prod(column.shape[1:]))
    values = column[:: math.ceil(len(column) / rows)].ravel()
    values = values[:: math.ceil(len(values) / MOST_COMPARED) | 1]  # an odd step visits every column of a field
    values, counts = np.unique(values, return_counts=True)
    starts = np.flatnonzero(np.diff(values, prepend=-np.inf) > 4 * np.spacing(np.abs(values)))
    return values[starts], np.add.reduceat(counts, starts)


def _farthest(column: np.ndarray, rows: np.ndarray, center: float) -> str:
    """Part of a message: the value of a feature [N, ...] that is farthest from `center`, and its row."""
    place = int(np.abs(column - center).argmax())
    row = rows[place // (column.size // len(column))]
    return f"{column.flat[place]:g} in row {row}, perhaps a fill value"


def _not_pixels(array: np.ndarray) -> str:
    """Part of a message: the range of an array whose values are not all pixels, and what to do."""
    least, greatest = array.min(), array.max()
    if array.dtype.kind != "f":
        count = max(1, math.ceil(math.log(int(greatest) - int(least) + 1, MOST_LEVELS)))
        each = "save them as uint8" if count == 1 else f"save the {count} bytes of each value as channels of uint8"
        dense = "" if count == 1 else "; or add noise that is uniform over 0 .. 1, and take --config=arrays:vdm-fields"
        advice = f"subtract {least}, and {each}, which loses nothing{dense}"
    elif least >= -1 and greatest <= 1:
        advice = "if pixels 0 .. N were scaled, undo that, as by np.round(array * N).astype(np.uint8)"
    else:
        advice = "take a configuration of real numbers, --config=arrays:vdm-fields"
    levels = "whole numbers of 2 to 256 levels, 0 .. 255 (data.pixel_levels)"
    return f"holds {array.dtype} from {least:g} to {greatest:g}, but pixels are {levels}; {advice}"


def as_labels(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Labels: classes [N] of an array of whole numbers, [N] or [N, 1]; vectors [N, K] of real numbers, [N] or [N, K].

    Raises InputError for other arrays; it names the file `path` and the array's `name` in it.
    """
    is_real = array.dtype.kind == "f"
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and not is_real else array
    if labels.ndim > 1 + is_real or labels.ndim == 0 or labels.dtype.kind not in "iuf" or labels.size == 0:
        it_is = f"{str(labels.dtype)[:20]} {str(list(labels.shape))[:60]}"
        raise refused(path, f"must hold labels: whole numbers [N], or real numbers [N, K]; {name} is {it_is}")
    return labels.reshape(len(labels), -1).astype(np.float64) if is_real else labels


def fits_memory(what: Path | str, shape: Sequence[int], value_bytes: int = 1) -> None:
    """Raise InputError if values of `shape`, of `value_bytes` each, need more than the machine's memory."""
    size, memory = math.prod(shape) * value_bytes, machine_memory()
    if memory is not None and size > memory:
        raise refused(what, f"would take {size / 1e9:.3g} GB of memory, but this machine has {memory / 1e9:.3g} GB")
