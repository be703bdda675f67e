"""Images and labels in every format that is read, for tests: writers, and bytes of single files."""

import gzip
import io
import pickle
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


def rows(images):
    """Images as batches are published: by channel, then row, then column."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def write_npz(folder, names=("x_{}", "y_{}"), labels=STORED):
    arrays = {names[0].format(split): IMAGES[part] for split, part in SPLITS.items()}
    np.savez(folder / "a.npz", **arrays, **{names[1].format(split): labels[part] for split, part in SPLITS.items()})
    return folder / "a.npz"


def write_one_npz(folder):
    np.savez(folder / "a.npz", images=IMAGES, labels=STORED)
    return folder / "a.npz"


def write_idx(folder, ending=""):
    pack = gzip.compress if ending else bytes
    for split, prefix in (("train", "train"), ("test", "t10k")):
        part = SPLITS[split]
        (folder / f"{prefix}-images-idx3-ubyte{ending}").write_bytes(pack(idx_bytes(GREY[part])))
        (folder / f"{prefix}-labels-idx1-ubyte{ending}").write_bytes(pack(idx_bytes(STORED[part].astype(np.uint8))))
    return folder


def write_cifar(folder, labels=STORED, text=str.encode, protocol=2):
    """Batches of 8 and 12 training images, and one of test images."""
    for name, part in (("data_batch_1", slice(0, 8)), ("data_batch_2", slice(8, 20)), ("test_batch", slice(20, 30))):
        batch = {text("data"): rows(IMAGES[part]), text("labels"): labels[part].tolist(), text("mean"): np.zeros(3)}
        (folder / name).write_bytes(python_2(batch) if text is str.encode else pickle.dumps(batch, protocol))
    return folder


def python_2(batch):
    """A pickle of protocol 2 as Python 2 wrote it: texts and values are its plain strings, which are bytes."""
    array, labels = batch[b"data"], batch[b"labels"]
    size = lambda n: b"M" + struct.pack("<H", n)  # noqa: E731
    shape = size(array.shape[0]) + size(array.shape[1]) + b"\x86"
    return (
        b"\x80\x02}(U\x06labels](" + b"".join(size(n) for n in labels) + b"eU\x04data"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01"
        + shape
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00"
        b"tb\x89T" + struct.pack("<I", array.size) + array.tobytes() + b"tbu."
    )


def write_imagenet(folder):
    """Archives of eleven training batches in an order that is not that of their names."""
    for kind in ("train", "val"):
        (folder / f"Imagenet32_{kind}_npz").mkdir()
    parts = np.array_split(np.arange(COUNT - TEST), 11)
    for number, part in enumerate(parts, 1):
        place = folder / "Imagenet32_train_npz" / f"train_data_batch_{number}.npz"
        np.savez(place, data=rows(IMAGES[part]), labels=STORED[part])
    test = SPLITS["test"]
    np.savez(folder / "Imagenet32_val_npz" / "val_data.npz", data=rows(IMAGES[test]), labels=STORED[test])
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
    "npz of train_labels": lambda f: write_npz(f, ("{}", "{}_labels")),
    "npz of keras": lambda f: write_npz(f, labels=STORED[:, None].astype(np.uint8)),
    "idx": write_idx,
    "gzipped idx": lambda f: write_idx(f, ".gz"),
    "CIFAR-10, of Python 2": write_cifar,
    "pickles of Python 3": lambda f: write_cifar(f, text=str, protocol=3),
    "ImageNet, .npz": write_imagenet,
    "pictures": write_pictures,
}
WRITERS = WITH_SPLITS | {
    "one npz": write_one_npz,
    "pictures without splits": lambda f: write_pictures(f, (".", ".")),
}
