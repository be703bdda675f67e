"""A user's own images: .npy, .npz, IDX (gzipped or not), a folder of pictures or of batches.

Where a source has no test split of its own, a tenth of its images, the same ones each time, are
held out as one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from diffenc_jax.data import arrays, batches, checks, idx, pictures
from diffenc_jax.data.images import Images, hold_out


class Source(NamedTuple):
    """A named set of splits, each opened on demand; `labels`, of those that have them, gives [N] classes, from 0."""

    name: str
    version: str
    read: Mapping[str, Callable[[], Images]]
    labels: Mapping[str, Callable[[], np.ndarray]] = MappingProxyType({})


def from_path(path: Path) -> Source:
    """The images at `path`.

    Raises:
      InputError: nothing there can be read as images; the message names the file.
    """
    with checks.reading(path, "images"):
        if path.is_dir():
            splits = batches.folder(path) or idx.folder(path) or pictures.folder(path)
        elif path.suffix == ".npz":
            splits = arrays.npz(path)
        elif path.suffix == ".npy":
            splits = hold_out(arrays.npy(path))
        else:
            splits = hold_out(idx.images(path))
    return Source(str(path), "local", splits)
