"""Images and labels in single files: numpy's .npy and .npz, and IDX, the format of MNIST, gzipped or not."""

import gzip
import math
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from diffenc_jax.core.errors import LONGEST
from diffenc_jax.data import checks
from diffenc_jax.data.images import Images, OnDemand, OpenLabels, Splits, hold_out, labels_of, labels_of_one

GZIP, IDX = b"\x1f\x8b", b"\0\0\x08"  # the first bytes; the third byte of IDX is the type, uint8
NUMPY, ZIP = np.lib.format.MAGIC_PREFIX, b"PK"  # the first bytes of .npy and .npz
AGAIN, GUNZIP = "copy or make it again", "is gzipped, which only IDX files may be; gunzip it"
IDX_PREFIXES = {"train": "train", "test": "t10k"}  # beginnings of MNIST's file names, by split
# Names of the arrays in an .npz file by split. Images have one of two pairs of names.
NPZ_IMAGES = ({"train": "train", "test": "test"}, {"train": "x_train", "test": "x_test"})
NPZ_LABELS = {"train": "y_train", "test": "y_test"}
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def open_file(path: Path, form: checks.Form = checks.IMAGES) -> tuple[Splits, OpenLabels]:
    """Splits and labels of one file with data of a form.

    An .npz file holds the arrays 'train' and 'test', or 'x_train' and 'x_test', with labels 'y_train' and 'y_test'; or
    one array of data, with labels 'y'. Other files have no labels.
    """
    names = npz_shapes(path).keys() if path.suffix == ".npz" else set()
    pair = next((pair for pair in NPZ_IMAGES if names >= set(pair.values())), None)
    if pair is None:
        return hold_out(read_all(path, form)), lambda: labels_of_one(_npz_labels(path, "y") if "y" in names else None)
    images = {split: partial(_npz_data, path, name, form) for split, name in pair.items()}
    labels = {split: partial(_npz_labels, path, name) for split, name in NPZ_LABELS.items() if name in names}
    return images, lambda: labels_of(labels)


def open_idx_folder(path: Path) -> tuple[Splits, OpenLabels]:
    """Splits and labels of a folder with MNIST's files, such as train-images-idx3-ubyte or ...-ubyte.gz.

    A folder without such files has no splits. Raises InputError if it holds only one of the two files of images.
    """
    files, classes = _named(path, "images[-.]idx3"), _named(path, "labels[-.]idx1")
    if len(files) == 1:
        raise checks.refused(path, "must hold both train-images-idx3-ubyte and t10k-images-idx3-ubyte (or .gz)")
    labels = {split: partial(_idx_labels, file) for split, file in classes.items()}
    images = {split: partial(read_all, file, checks.IMAGES) for split, file in files.items()}
    return images, lambda: labels_of(labels)


def _named(path: Path, kind: str) -> dict[str, Path]:
    files = {split: sorted(path.glob(f"{prefix}-{kind}-ubyte*")) for split, prefix in IDX_PREFIXES.items()}
    return {split: paths[0] for split, paths in files.items() if paths}


def read_all(path: Path, form: checks.Form) -> Images:
    """Data [N, ...] of a file with one array of data of a form. An .npy file is read on demand."""
    if path.suffix == ".npz":
        names = [name for name, shape in npz_shapes(path).items() if len(shape) >= form.least_axes and name != "y"]
        if len(names) != 1:
            held = ", ".join(sorted(names))[:LONGEST] or "none"
            raise checks.refused(path, f"must hold 'train' and 'test', or one array of data; it holds: {held}")
        return _npz_data(path, names[0], form)
    if path.suffix == ".npy":
        with checks.reading(path, AGAIN):
            array = np.load(_begins_with(NUMPY, path), mmap_mode="r", allow_pickle=False)
        return OnDemand(form.shape(path, array.shape), lambda start, stop: form.rows(path, array, slice(start, stop)))
    return form.rows(path, _idx_array(path), slice(None))


def _begins_with(start: bytes, path: Path) -> Path:
    """`path`, if it is a file that begins with the bytes `start`; raises InputError otherwise."""
    with checks.regular(path).open("rb") as file:
        found = file.read(len(start))
    if found != start:
        raise checks.refused(path, GUNZIP if found[:2] == GZIP else f"is no {path.suffix} file; {AGAIN}")
    return path


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays of an .npz file by name; only their headers are read."""
    shapes = {}
    with checks.reading(path, AGAIN), zipfile.ZipFile(_begins_with(ZIP, path)) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    shapes[name.removesuffix(".npy")], *_ = HEADERS[np.lib.format.read_magic(file)](file)
    return shapes


def _npz_array(path: Path, name: str) -> np.ndarray:
    """The array `name` of an .npz file; raises InputError before reading it if memory does not suffice."""
    checks.fits_memory(path, npz_shapes(path)[name])
    with checks.reading(path, AGAIN), np.load(path) as archive:
        return archive[f"{name}.npy"]


def _npz_data(path: Path, name: str, form: checks.Form) -> np.ndarray:
    return form.rows(path, _npz_array(path, name), slice(None))


def _npz_labels(path: Path, name: str) -> np.ndarray:
    return checks.as_labels(path, name, _npz_array(path, name))


def _idx_labels(path: Path) -> np.ndarray:
    return checks.as_labels(path, "the file", _idx_array(path))


def _idx_array(path: Path) -> np.ndarray:
    """Values of an IDX file: two zero bytes, type, rank, sizes as big-endian uint32, values."""
    with checks.reading(path, AGAIN), checks.regular(path).open("rb") as stored:
        is_packed = stored.read(2) == GZIP
        stored.seek(0)
        file = gzip.GzipFile(fileobj=stored) if is_packed else stored
        kind, rank = file.read(3), file.read(1)
        if kind != IDX or not rank:
            raise checks.refused(path, GUNZIP if is_packed else "is not a .npy, .npz or IDX file of uint8")
        shape = np.frombuffer(file.read(4 * rank[0]), ">u4", rank[0]).tolist()
        checks.fits_memory(path, shape)
        return np.frombuffer(file.read(math.prod(shape) + 1), np.uint8).reshape(shape)
