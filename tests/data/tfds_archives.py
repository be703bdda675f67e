"""Archives of CIFAR-10 and CIFAR-100, put where tensorflow-datasets looks for files that are put there by hand."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

SIZES = {"train": 20, "test": 6}


class Format(NamedTuple):
    """Names in an archive, and the numbers of classes of the labels that precede an image."""

    archive: str
    top: str
    files: dict[str, list[str]]
    classes: dict[str, int]


FORMATS = {
    "cifar10": Format(
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]},
        {"batches.meta.txt": 10},
    ),
    "cifar100": Format(
        "cifar-100-binary.tar.gz",
        "cifar-100-binary",
        {"train": ["train.bin"], "test": ["test.bin"]},
        {"coarse_label_names.txt": 20, "fine_label_names.txt": 100},
    ),
}


class Archive(NamedTuple):
    """Folder of data sets with a generated archive, and its images and (last) labels by split."""

    folder: Path
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


def write_archive(name: str, folder: Path, monkeypatch) -> Archive:
    """Write an archive of `name` into `folder`/downloads/manual, and make its checksum known."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.checksums import UrlInfo

    layout, rng = FORMATS[name], np.random.RandomState(0)
    contents = {file: "\n".join(map(str, range(n))).encode() for file, n in layout.classes.items()}
    images, labels = {}, {}
    for split, files in layout.files.items():
        pixels = rng.randint(0, 256, (SIZES[split], 3, 32, 32))
        classes = np.stack([rng.randint(0, n, SIZES[split]) for n in layout.classes.values()], 1)
        rows = np.concatenate([classes, pixels.reshape(SIZES[split], -1)], 1).astype(np.uint8)
        contents |= {f: part.tobytes() for f, part in zip(files, np.split(rows, len(files)), strict=True)}
        images[split], labels[split] = pixels.transpose(0, 2, 3, 1).astype(np.uint8), classes[:, -1]
    path = folder / "downloads" / "manual" / layout.archive
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as tar:
        for file, content in contents.items():
            info = tarfile.TarInfo(f"{layout.top}/{file}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    url_infos = tfds.builder(name, data_dir=folder).url_infos
    known = UrlInfo(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
    for url in list(url_infos):
        monkeypatch.setitem(url_infos, url, known)
    return Archive(folder, images, labels)
