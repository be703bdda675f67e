"""Images and labels in numpy's files, .npy and .npz."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from diffenc_jax.core.arrays import ERRORS, Archive, Header, read_header
from diffenc_jax.data import checks
from diffenc_jax.data.images import Labels, Splits, as_labels, hold_out, with_channels


def npy_images(path: Path) -> np.ndarray:
    """Images uint8 [N, H, W, C] of a .npy file, memory-mapped so that only requested rows are read.

    Raises InputError if the file holds something else, or if its size does not match its header.
    """
    with checks.reading(path, "a .npy array", ValueError):
        with checks.regular(path).open("rb") as file:
            header = read_header(file)
        checks.are_images(path, header.shape, header.dtype)
        header.check_size(path.stat().st_size)
        return with_channels(np.load(path, mmap_mode="r", allow_pickle=False))


def npz_splits(path: Path) -> Splits:
    """Splits of a .npz file with the arrays 'train' and 'test', 'x_train' and 'x_test', or one array of images."""
    names = _names_of_images(path)
    for prefix in ("", "x_"):
        if prefix + "train" in names and prefix + "test" in names:
            return {split: partial(npz_images, path, prefix + split) for split in ("train", "test")}
    if len(names) == 1:
        return hold_out(npz_images(path, names[0]))
    raise checks.refused(path, f"must hold 'train' and 'test', or one array of images; its images: {_listed(names)}")


def npz_labels(path: Path) -> Labels | None:
    """Labels of the splits of `npz_splits`; None without an array of them.

    They are 'y_train' and 'y_test', 'train_labels' and 'test_labels', or beside one array of images 'y' or 'labels'.
    """
    arrays = npz_headers(path)
    for pattern in ("y_{}", "{}_labels", "labels_{}"):
        names = {split: pattern.format(split) for split in ("train", "test")}
        if arrays.keys() >= set(names.values()):
            return Labels.of_train({split: partial(npz_integers, path, name) for split, name in names.items()})
    name = next((name for name in ("y", "labels") if name in arrays), None)
    if name is None or len(_names_of_images(path)) != 1:
        return None
    return Labels.of_one(npz_integers(path, name))


def npz_integers(path: Path, name: str) -> np.ndarray:
    """Whole numbers [N] of the array `name` of a .npz file; raises InputError if it holds something else."""
    return as_labels(path, name, npz_array(path, name, kinds="iu"))


def npz_single(path: Path) -> np.ndarray:
    """Images uint8 [N, H, W, C] of a .npz file with one array of images."""
    names = _names_of_images(path)
    if len(names) != 1:
        raise checks.refused(path, f"must hold one array of images; its images: {_listed(names)}")
    return npz_images(path, names[0])


def _names_of_images(path: Path) -> list[str]:
    return [name for name, header in npz_headers(path).items() if len(header.shape) >= 3]


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names)[:8]) or "none"


def npz_images(path: Path, name: str) -> np.ndarray:
    """Images uint8 [N, H, W, C] of the array `name` of a .npz file."""
    array = npz_array(path, name)
    checks.are_images(path, array.shape, array.dtype)
    return with_channels(array)


def npz_headers(path: Path) -> dict[str, Header]:
    """Headers of all arrays of a .npz file by name."""
    with _opened(path) as archive:
        return archive.headers


def npz_array(path: Path, name: str, kinds: str = "") -> np.ndarray:
    """The array `name` of a .npz file; raises InputError unless it is uint8 and as large as its header says.

    Args:
      kinds: the kinds of numpy's dtypes that are accepted as well, such as "iu" for all whole numbers.
    """
    with _opened(path) as archive:
        header = archive.headers[name]
        if header.dtype != np.uint8 and header.dtype.kind not in kinds:
            allowed, advice = ("whole numbers", "") if kinds else ("uint8, values 0 .. 255", f"; {checks.UNSCALED}")
            raise checks.refused(path, f"must hold {allowed}; {name} is {str(header.dtype)[:40]}{advice}")
        checks.fits_memory(path, header.shape)
        return archive.array(name)


@contextmanager
def _opened(path: Path) -> Iterator[Archive]:
    with checks.reading(path, "a .npz archive", *ERRORS), Archive(checks.regular(path)) as archive:
        yield archive
