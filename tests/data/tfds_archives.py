"""An archive of CIFAR-10, put where tensorflow-datasets looks for files that are put there by hand."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

SIZES = {"train": 20, "test": 6}


ARCHIVE, TOP = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
FILES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}


class Archive(NamedTuple):
    """Folder of data sets with a generated archive, and its images and labels by split."""

    folder: Path
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


def write_archive(folder: Path, monkeypatch) -> Archive:
    """Write an archive of CIFAR-10 into `folder`/downloads/manual, and make its checksum known."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.checksums import UrlInfo

    rng, contents = np.random.RandomState(0), {"batches.meta.txt": "\n".join(map(str, range(10))).encode()}
    images, labels = {}, {}
    for split, files in FILES.items():
        pixels, classes = rng.randint(0, 256, (SIZES[split], 3, 32, 32)), rng.randint(0, 10, (SIZES[split], 1))
        rows = np.concatenate([classes, pixels.reshape(SIZES[split], -1)], 1).astype(np.uint8)
        contents |= {f: part.tobytes() for f, part in zip(files, np.split(rows, len(files)), strict=True)}
        images[split], labels[split] = pixels.transpose(0, 2, 3, 1).astype(np.uint8), classes[:, 0]
    path = folder / "downloads" / "manual" / ARCHIVE
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as tar:
        for file, content in contents.items():
            info = tarfile.TarInfo(f"{TOP}/{file}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    url_infos = tfds.builder("cifar10", data_dir=folder).url_infos
    known = UrlInfo(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
    for url in list(url_infos):
        monkeypatch.setitem(url_infos, url, known)
    return Archive(folder, images, labels)
