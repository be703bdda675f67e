"""Users' own images: .npy, .npz, IDX (gzipped or not), a folder of pictures or of batches.

If there is no test split, a fixed tenth of the images is held out as one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from diffenc_jax.data import arrays, batch_folders, checks, idx, picture_folders
from diffenc_jax.data.images import Images, hold_out


class Source(NamedTuple):
    """A data set whose splits are opened on demand.

    Attributes:
      name, version: as in `Dataset`.
      splits: functions that open the images of a split, by its name.
      labels: functions that read the classes [N], integers from 0, of a split that has them.
    """

    name: str
    version: str
    splits: Mapping[str, Callable[[], Images]]
    labels: Mapping[str, Callable[[], np.ndarray]] = MappingProxyType({})


def all_images(path: Path) -> Images:
    """All images at `path`, in their order: of a folder of pictures, or of a file that holds one array of them.

    Raises InputError, which names the file, if they cannot be read.
    """
    with checks.reading(path, "images"):
        if path.is_dir():
            return picture_folders.all_pictures(path)
        if path.suffix == ".npz":
            return arrays.npz_single(path)
        return arrays.npy_images(path) if path.suffix == ".npy" else idx.idx_images(path)


def open_path(path: Path, resize: int | None = None) -> Source:
    """Open the images at `path`; raises InputError, which names the file, if they cannot be read.

    Args:
      resize: side of the squares to which pictures are cropped and resized; for folders of pictures only.
    """
    with checks.reading(path, "images"):
        if path.is_dir():
            splits = batch_folders.open_folder(path) or idx.open_folder(path)
            if not splits:
                version = "local" if resize is None else f"local, resized to {resize}x{resize}"
                return Source(str(path), version, picture_folders.open_folder(path, resize))
        elif path.suffix == ".npz":
            splits = arrays.npz_splits(path)
        elif path.suffix == ".npy":
            splits = hold_out(arrays.npy_images(path))
        else:
            splits = hold_out(idx.idx_images(path))
    if resize is not None:
        raise checks.refused(path, f"is no folder of pictures, and data.resize={resize} is for one; resize its arrays")
    return Source(str(path), "local", splits)
