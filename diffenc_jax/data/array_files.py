"""Images and labels in single files: numpy's .npy and .npz, and IDX, the format of MNIST, gzipped or not."""

import gzip
import math
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from diffenc_jax.data import checks
from diffenc_jax.data.images import Images, Labels, OnDemand, OpenLabels, Splits, hold_out

GZIP, IDX = b"\x1f\x8b", b"\0\0\x08"  # the first bytes; those of IDX end with the type, uint8
IDX_PREFIXES = {"train": "train", "test": "t10k"}  # of MNIST's file names, by split
SPLITS = ("train", "test")
# Names of the arrays of both splits in an .npz file: the first pair that it holds counts.
IMAGES = (("train", "test"), ("x_train", "x_test"))
LABELS = (("y_train", "y_test"), ("train_labels", "test_labels"))
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def open_file(path: Path) -> tuple[Splits, OpenLabels]:
    """Splits and labels of one file.

    An .npz file has the arrays 'train' and 'test', or 'x_train' and 'x_test', with labels 'y_train' and 'y_test' or
    'train_labels' and 'test_labels'; or one array of images, with labels 'y' or 'labels'. Other files have no labels.
    """
    held = npz_shapes(path).keys() if path.suffix == ".npz" else set()
    images, labels = (next((pair for pair in pairs if held >= set(pair)), ()) for pairs in (IMAGES, LABELS))
    if images:
        splits = {split: partial(npz_images, path, name) for split, name in zip(SPLITS, images, strict=True)}
        classes = {split: partial(_npz_labels, path, name) for split, name in zip(SPLITS, labels, strict=False)}
        return splits, lambda: Labels.of_train(classes)
    one = next((name for name in ("y", "labels") if name in held), None)
    return hold_out(all_images(path)), lambda: Labels.of_one(None if one is None else _npz_labels(path, one))


def open_idx_folder(path: Path) -> tuple[Splits, OpenLabels]:
    """Splits and labels of a folder with MNIST's files, such as train-images-idx3-ubyte or ...-ubyte.gz.

    No splits if there are no such files; raises InputError if one of the two files of images is missing.
    """
    files, classes = _named(path, "images[-.]idx3"), _named(path, "labels[-.]idx1")
    if len(files) == 1:
        raise checks.refused(path, "must hold both train-images-idx3-ubyte and t10k-images-idx3-ubyte (or .gz)")
    labels = {split: partial(_idx_labels, file) for split, file in classes.items()}
    return {split: partial(all_images, file) for split, file in files.items()}, lambda: Labels.of_train(labels)


def _named(path: Path, kind: str) -> dict[str, Path]:
    files = {split: sorted(path.glob(f"{prefix}-{kind}-ubyte*")) for split, prefix in IDX_PREFIXES.items()}
    return {split: paths[0] for split, paths in files.items() if paths}


def all_images(path: Path) -> Images:
    """Images uint8 [N, H, W, C] of a file that holds one array of them; of .npy only requested ones are read."""
    if path.suffix == ".npz":
        names = [name for name, shape in npz_shapes(path).items() if len(shape) >= 3]
        if len(names) != 1:
            held = ", ".join(sorted(names))[: checks.LONGEST] or "none"
            raise checks.refused(path, f"must hold 'train' and 'test', or one array of images; its images: {held}")
        return npz_images(path, names[0])
    if path.suffix == ".npy":
        with checks.reading(path):
            array = np.load(checks.regular(path), mmap_mode="r", allow_pickle=False)
            shape = checks.image_shape(path, array.shape)
            return OnDemand(shape, lambda start, stop: checks.as_images(path, array, slice(start, stop)))
    return checks.as_images(path, _idx_array(path))


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays of a .npz file by name; only their headers are read."""
    shapes = {}
    with checks.reading(path), zipfile.ZipFile(checks.regular(path)) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    shapes[name.removesuffix(".npy")], *_ = HEADERS[np.lib.format.read_magic(file)](file)
    return shapes


def npz_array(path: Path, name: str) -> np.ndarray:
    """The array `name` of a .npz file; raises InputError before reading it if memory does not suffice."""
    shape = npz_shapes(path).get(name)
    if shape is None:
        raise checks.refused(path, f"holds no array {name!r}")
    checks.fits_memory(path, shape)
    with checks.reading(path), np.load(path) as archive:
        return archive[f"{name}.npy"]


def npz_images(path: Path, name: str) -> np.ndarray:
    """Images uint8 [N, H, W, C] of the array `name` of a .npz file."""
    return checks.as_images(path, npz_array(path, name))


def _npz_labels(path: Path, name: str) -> np.ndarray:
    return checks.as_labels(path, name, npz_array(path, name))


def _idx_labels(path: Path) -> np.ndarray:
    return checks.as_labels(path, "the file", _idx_array(path))


def _idx_array(path: Path) -> np.ndarray:
    """Values of an IDX file: two zero bytes, type, rank, sizes as big-endian uint32, values."""
    with checks.reading(path), checks.regular(path).open("rb") as stored:
        is_packed = stored.read(2) == GZIP
        stored.seek(0)
        file = gzip.GzipFile(fileobj=stored) if is_packed else stored
        kind, rank = file.read(3), file.read(1)
        if kind != IDX or not rank:
            raise checks.refused(path, "is not a .npy, .npz or IDX file of uint8")
        shape = np.frombuffer(file.read(4 * rank[0]), ">u4", rank[0]).tolist()
        checks.fits_memory(path, shape)
        return np.frombuffer(file.read(math.prod(shape) + 1), np.uint8).reshape(shape)
