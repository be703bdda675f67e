"""Images and labels in every format that is read, for tests: writers, and bytes of single files."""

import gzip
import io
import struct
import zipfile

import numpy as np
from PIL import Image

COUNT, TEST = 30, 10
IMAGES = np.random.RandomState(0).randint(0, 256, (COUNT, 4, 4, 3)).astype(np.uint8)
GREY = IMAGES[..., 0]
# Labels as they are in files, of which 3, 5 and 9 are the classes 0, 1 and 2.
STORED = np.array([3, 5, 9])[np.random.RandomState(1).randint(0, 3, COUNT)]
SPLITS = {"train": slice(0, COUNT - TEST), "test": slice(COUNT - TEST, COUNT)}


def npy_bytes(array):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def npy_header(shape, dtype="|u1"):
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def zip_bytes(members, packing=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, packing)
    return buffer.getvalue()


def write_npz(folder, name="x_{}", labels=STORED):
    arrays = {name.format(split): IMAGES[part] for split, part in SPLITS.items()}
    np.savez(folder / "a.npz", **arrays, **{f"y_{split}": labels[part] for split, part in SPLITS.items()})
    return folder / "a.npz"


def write_one_npz(folder):
    np.savez(folder / "a.npz", images=IMAGES, y=STORED)
    return folder / "a.npz"


def write_idx(folder, ending=""):
    pack = gzip.compress if ending else bytes
    for split, prefix in (("train", "train"), ("test", "t10k")):
        part = SPLITS[split]
        (folder / f"{prefix}-images-idx3-ubyte{ending}").write_bytes(pack(idx_bytes(GREY[part])))
        (folder / f"{prefix}-labels-idx1-ubyte{ending}").write_bytes(pack(idx_bytes(STORED[part].astype(np.uint8))))
    return folder


def write_pictures(folder, splits=("train", "test")):
    """Folders whose sorted names are 'no 3', 'no 5' and 'no 9'."""
    for number, (image, label) in enumerate(zip(IMAGES, STORED, strict=True)):
        place = folder / splits[number >= COUNT - TEST] / f"no {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:02}.png")
    return folder


# Formats whose splits are in the files.
WITH_SPLITS = {
    "npz": write_npz,
    "npz of train and test": lambda f: write_npz(f, "{}"),
    "npz of keras": lambda f: write_npz(f, labels=STORED[:, None].astype(np.uint8)),
    "idx": write_idx,
    "gzipped idx": lambda f: write_idx(f, ".gz"),
    "pictures": write_pictures,
}
WRITERS = WITH_SPLITS | {"one npz": write_one_npz, "pictures without splits": lambda f: write_pictures(f, (".", "."))}
