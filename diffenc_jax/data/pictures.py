"""Folders of pictures: .png, .jpg and the like, of 8 bits a value, grey or RGB."""

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from diffenc_jax.data import checks
from diffenc_jax.data.images import Images, Listed, hold_out

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")  # Pillow knows more, some of which start programs
# What pictures of each of Pillow's modes are read as; the values of others do not fit 8 bits, or are no colours.
MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}


def folder(path: Path) -> dict[str, Callable[[], Images]]:
    """Splits from folders 'train' and 'test' of pictures, or from pictures.

    Raises:
      InputError: there are none.
    """
    parts = {split: path / split for split in ("train", "test")}
    if all(part.is_dir() for part in parts.values()):
        return {split: partial(_pictures, checks.inside(part, path)) for split, part in parts.items()}
    return hold_out(_pictures(path))


def _pictures(top: Path) -> Listed:
    """All pictures in `top` and below, in the order of their paths and of one size."""
    paths = _paths(top)
    if not paths:
        raise checks.refused(top, f"holds no pictures ({', '.join(ENDINGS)}), no batches and no IDX files")
    shape = picture(checks.regular(paths[0], top)).shape
    return Listed(len(paths), lambda number: picture(checks.regular(paths[number], top), shape))


def _paths(top: Path) -> list[Path]:
    """Of everything in `top` and below whose name is a picture's."""
    paths = []
    with checks.reading(top, "a folder of pictures"):
        for at, folders, names in os.walk(top, onerror=_raise):
            for link in (Path(at, name) for name in folders if os.path.islink(Path(at, name))):
                raise checks.refused(link, "is a link to a folder, which is not followed; put the folder itself there")
            paths += [Path(at, name) for name in folders + names if name.lower().endswith(ENDINGS)]
    return sorted(paths)


def _raise(error: OSError) -> None:
    raise error


def picture(path: Path, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """uint8 [H, W, 1 or 3].

    Args:
      shape: that it must have; None: any. One of another is not decoded.

    Raises:
      InputError: it is no whole, still, opaque picture of 8 bits a value and of sane size.
    """
    from PIL import Image

    # What a decoder raises is documented nowhere.
    with checks.reading(path, "a picture", Exception), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as opened:
            mode = _mode(opened)
            found = (opened.height, opened.width, len(mode))
            if shape not in (None, found):
                raise checks.refused(path, f"is {found}, and the first picture is {shape}: pictures must be alike")
            if opened.has_transparency_data and opened.convert("RGBA").getchannel("A").getextrema()[0] < 255:
                raise ValueError("it is transparent in places; put it onto a background")
            return np.asarray(opened.convert(mode)).reshape(found)


def _mode(opened) -> str:
    """L or RGB, as which a picture can be read without a loss; raises ValueError where there is none."""
    deep = ";16" in str(opened.tile)  # Pillow opens 16 bits a colour as RGB of 8
    if deep or opened.mode not in MODES:
        pixels = f"{opened.mode} of 16 bits" if deep else opened.mode
        raise ValueError(f"its pixels are {pixels}; save it as grey or RGB of 8 bits")
    if getattr(opened, "is_animated", False) and opened.format != "MPO":  # a camera's, whose others are previews
        raise ValueError("it holds several pictures; save each as a file")
    return MODES[opened.mode]
