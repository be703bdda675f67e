"""Images on disk: what compression reads and what decompression writes."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import check_writable, is_folder, list_paths, save_picture, write_arrays
from diffenc_jax.runs.workdir import check_not_of_run


def check_place(path: Path, shape: tuple[int, int, int]) -> None:
    """Raise InputError unless `write_images` can write images of this shape to `path`."""
    is_array = path.suffix in WRITERS
    check_not_of_run(path)
    require(not (is_array and is_folder(path)), f"{path} is a folder; name a file")
    check_writable(path.parent if is_array else path)
    if not is_array:
        require(not list_paths(path, "*"), f"{path} is not empty; name a new folder, or a file such as images.npy")
        require(shape[2] in (1, 3), f"pictures have 1 or 3 channels, and these images {shape[2]}; name an .npy file")


def write_images(path: Path, images: np.ndarray) -> None:
    """Write images, uint8 [N, H, W, C]: to an .npy or .npz file, or as pictures (PNG) to a folder."""
    WRITERS.get(path.suffix, _write_pictures)(path, images)


def _write_npy(path: Path, images: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, images)
    storage.write(path, content.getbuffer())


def _write_npz(path: Path, images: np.ndarray) -> None:
    write_arrays(path, images=images)


def _write_pictures(folder: Path, images: np.ndarray) -> None:
    from PIL import Image

    digits = len(str(len(images) - 1))
    for number, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        save_picture(picture, folder / f"{number:0{digits}}.png", "PNG")


WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {".npy": _write_npy, ".npz": _write_npz}
