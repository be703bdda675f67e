"""A user's own images: .npy, .npz, IDX (gzipped or not), or a folder of pictures.

Where a source has no test split of its own, a tenth of its images, the same ones each time, are
held out as one.
"""

import gzip
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffenc_jax.data.images import Chosen, Images, Listed
from diffenc_jax.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
IDX_UINT8 = 0x08
HELD_OUT = 10


class Source(NamedTuple):
    """A named set of splits, each opened on demand."""

    name: str
    version: str
    read: Mapping[str, Callable[[], Images]]


def from_path(path: Path) -> Source:
    """The images at `path`.

    Raises:
      InputError: nothing there can be read as images; the message names the file.
    """
    if path.is_dir():
        splits = _idx_folder(path) or _picture_folder(path)
    elif path.suffix == ".npz":
        splits = _npz(path)
    elif path.suffix == ".npy":
        splits = hold_out(_npy(path))
    else:
        splits = hold_out(_idx(path))
    return Source(str(path), "local", splits)


def hold_out(images: Images) -> dict[str, Callable[[], Images]]:
    """Splits one set: a tenth of it, at least one image, chosen once and for all, is 'test'."""
    count = images.shape[0]
    num_test = max(1, count // HELD_OUT)
    order = np.random.RandomState(0).permutation(count)
    test, train = np.sort(order[:num_test]), np.sort(order[num_test:])
    return {"train": lambda: Chosen(images, train), "test": lambda: Chosen(images, test)}


def _with_channels(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 else images


def _npy(path: Path) -> np.ndarray:
    """Mapped, so that what is not asked for is not read."""
    try:
        return _with_channels(np.load(path, allow_pickle=False, mmap_mode="r"))
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a .npy array: {_line(error)}") from error


def _npz(path: Path) -> dict[str, Callable[[], np.ndarray]]:
    """Arrays 'train' and 'test', or 'x_train' and 'x_test', or a single one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if archive[name].ndim >= 3}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read as a .npz archive: {_line(error)}") from error
    for prefix in ("", "x_"):
        found = {split: arrays.get(prefix + split) for split in ("train", "test")}
        if all(images is not None for images in found.values()):
            return {split: partial(_with_channels, images) for split, images in found.items()}
    if len(arrays) == 1:
        return hold_out(_with_channels(next(iter(arrays.values()))))
    raise InputError(f"{path} must hold 'train' and 'test', or one array of images; it holds {sorted(arrays)}")


def _idx_folder(folder: Path) -> dict[str, Callable[[], np.ndarray]]:
    """MNIST's file names: train-images-idx3-ubyte and t10k-images-idx3-ubyte, with .gz or without."""
    splits = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        found = sorted(folder.glob(f"{prefix}-images[-.]idx3-ubyte*"))
        if found:
            splits[split] = partial(_idx, found[0])
    if splits and len(splits) < 2:
        raise InputError(f"{folder} must hold both train-images-idx3-ubyte and t10k-images-idx3-ubyte (or .gz)")
    return splits


def _idx(path: Path) -> np.ndarray:
    """uint8 [N, H, W, 1] of an IDX file: two zero bytes, type, rank, sizes as big-endian uint32, values."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with (gzip.open if zipped else open)(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != bytes([0, 0, IDX_UINT8]) or head[3] not in (3, 4):
                raise InputError(f"{path} is not a .npy, .npz or IDX file of uint8 images")
            shape = tuple(int(n) for n in np.frombuffer(file.read(4 * head[3]), ">u4"))
            size = math.prod(shape)
            values = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {_line(error)}") from error
    if len(shape) != head[3] or len(values) != size:
        raise InputError(f"{path} is cut short or too long: its header promises {size} bytes of images")
    return _with_channels(np.frombuffer(values, np.uint8).reshape(shape))


def _picture_folder(folder: Path) -> dict[str, Callable[[], Images]]:
    """Folders 'train' and 'test' of pictures, or pictures."""
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        return {split: partial(_pictures, folder / split) for split in ("train", "test")}
    return hold_out(_pictures(folder))


def _pictures(folder: Path) -> Listed:
    """All pictures in `folder` and below, in the order of their paths, grey or RGB and of one size."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
    if not paths:
        raise InputError(f"{folder} holds no pictures ({', '.join(PICTURES)}) and no IDX files")
    shape = _picture(paths[0]).shape

    def decode(number: int) -> np.ndarray:
        image = _picture(paths[number])
        if image.shape != shape:
            raise InputError(f"{paths[number]} is {image.shape}, and {paths[0]} is {shape}: pictures must be alike")
        return image

    return Listed(len(paths), decode)


def _picture(path: Path) -> np.ndarray:
    """uint8 [H, W, 1 or 3]."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            grey = picture.mode in ("1", "L", "I;16", "I", "F")
            image = np.asarray(picture.convert("L" if grey else "RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a picture: {_line(error)}") from error
    return image[..., None] if image.ndim == 2 else image


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
