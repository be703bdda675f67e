"""Folders of pictures: .png, .jpg and similar formats, grey or RGB with 8 bits per value."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.data import checks
from diffenc_jax.data.images import Images, OnDemand, OpenLabels, Splits, hold_out, labels_of, labels_of_one

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")  # Pillow supports more formats; some start programs
VALIDATION = ("val", "valid", "validation")
# The mode to which each of Pillow's modes is converted. Values of other modes exceed 8 bits or are no colours.
MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}


def open_folder(path: Path, resize: int | None = None) -> tuple[Splits, OpenLabels]:
    """Splits and labels of the pictures in `path`/train and `path`/test or, without these folders, anywhere in `path`.

    The label of a picture is the name of its subfolder. There are no labels if a picture is in no subfolder.

    Args:
      resize: as in `decode_picture`.
    """
    parts = {split: path / split for split in ("train", "test")}
    if not all(part.is_dir() for part in parts.values()):
        if parts["train"].is_dir() and any((path / name).is_dir() for name in VALIDATION):
            raise checks.refused(path, f"has a folder train but no test; rename one of {', '.join(VALIDATION)} to test")
        return hold_out(all_pictures(path, resize)), lambda: labels_of_one(_class_names(path))

    def labels():
        names = {split: _class_names(part) for split, part in parts.items()}
        return labels_of({split: partial(np.copy, held) for split, held in names.items() if held is not None})

    return {split: partial(all_pictures, part, resize) for split, part in parts.items()}, labels


def _class_names(top: Path) -> np.ndarray | None:
    """Name of each picture's subfolder of `top`, [N]; None if a picture is in no subfolder."""
    places = [path.relative_to(top).parts for path in _paths(top)]
    return np.array([parts[0] for parts in places]) if all(len(parts) > 1 for parts in places) else None


def all_pictures(top: Path, resize: int | None = None) -> Images:
    """All pictures in `top` and its subfolders in the order of their paths."""
    paths = _paths(top)
    shape = decode_picture(paths[0], resize).shape

    def read(start: int, stop: int) -> np.ndarray:
        return np.stack([decode_picture(path, resize, shape) for path in paths[start:stop]])

    return OnDemand((len(paths), *shape), read)


def _paths(top: Path) -> list[Path]:
    """Sorted paths of the pictures in `top` and its subfolders; raises InputError without any."""
    paths = []
    with checks.reading(top):
        for at, folders, names in os.walk(top, onerror=_raise):
            for link in (Path(at, name) for name in folders if os.path.islink(Path(at, name))):
                raise checks.refused(link, "is a link to a folder; put the folder itself there")
            paths += [Path(at, name) for name in names if name.lower().endswith(ENDINGS)]
    if not paths:
        raise checks.refused(top, f"holds no pictures ({', '.join(ENDINGS)}) and no IDX files; see docs/data.md")
    return sorted(paths)


def _raise(error: OSError) -> None:
    raise error


def decode_picture(path: Path, resize: int | None = None, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """uint8 [H, W, 1 or 3] of one picture.

    Raises InputError for a picture that is damaged, transparent, of more than 8 bits per value, or of another shape.

    Args:
      resize: side of the square to which the largest square at the picture's centre is resized, by Lanczos' filter.
      shape: shape that the picture must have, which is checked before decoding; None: any.
    """
    from PIL import Image

    with checks.reading(path), Image.open(checks.regular(path), formats=FORMATS) as opened:
        if opened.mode not in MODES or ";16" in str(opened.tile):  # Pillow opens 16 bits per colour as RGB of 8
            raise ValueError(f"its pixels are {opened.mode} or of 16 bits; save it as grey or RGB of 8 bits")
        mode = MODES[opened.mode]
        own_shape = (*((opened.height, opened.width) if resize is None else (resize, resize)), len(mode))
        if shape is not None and own_shape != shape:
            advice = "save all as grey or all as RGB" if own_shape[:2] == shape[:2] else "give --config.data.resize=32"
            raise checks.refused(path, f"is {own_shape}, but the first picture is {shape}; {advice}")
        if opened.has_transparency_data and np.asarray(opened.convert("RGBA").getchannel("A")).min() < 255:
            raise ValueError("it is transparent in places; put it onto a background")
        picture = opened.convert(mode)
        return np.asarray(picture if resize is None else square(picture, resize)).reshape(own_shape)


def square(picture: "Image.Image", side: int) -> "Image.Image":
    """The largest square at a picture's centre, resized to `side` by Lanczos' filter."""
    from PIL import Image

    shorter = min(picture.size)
    left, top = ((length - shorter) // 2 for length in picture.size)
    cropped = picture.crop((left, top, left + shorter, top + shorter))
    return cropped.resize((side, side), Image.Resampling.LANCZOS)
