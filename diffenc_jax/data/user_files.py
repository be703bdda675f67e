"""Users' own images: .npy, .npz, IDX (gzipped or not), a folder of pictures or of batches.

If there is no test split, a fixed tenth of the images is held out as one.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from diffenc_jax.data import arrays, batch_folders, checks, idx, picture_folders
from diffenc_jax.data.images import Images, Labels, Splits, hold_out


class Source(NamedTuple):
    """A data set whose splits are opened on demand.

    Attributes:
      name, version: as in `Dataset`.
      splits: functions that open the images of a split, by its name.
      labels: function that finds the labels; it returns None if there are none.
    """

    name: str
    version: str
    splits: Splits
    labels: Callable[[], Labels | None] = lambda: None


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
    splits: Splits
    labels: Callable[[Path], Labels | None]
    with checks.reading(path, "images"):
        if path.is_dir():
            splits, labels = batch_folders.open_folder(path), batch_folders.folder_labels
            if not splits:
                splits, labels = idx.open_folder(path), idx.folder_labels
            if not splits:
                version = "local" if resize is None else f"local, resized to {resize}x{resize}"
                pictures = picture_folders.open_folder(path, resize)
                return Source(str(path), version, pictures, partial(picture_folders.folder_labels, path))
        elif path.suffix == ".npz":
            splits, labels = arrays.npz_splits(path), arrays.npz_labels
        elif path.suffix == ".npy":
            splits, labels = hold_out(arrays.npy_images(path)), lambda path: None
        else:
            splits, labels = hold_out(idx.idx_images(path)), idx.file_labels
    if resize is not None:
        raise checks.refused(path, f"is no folder of pictures, and data.resize={resize} is for one; resize its arrays")
    return Source(str(path), "local", splits, partial(labels, path))
