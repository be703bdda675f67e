"""Named data sets; CIFAR-10 through tensorflow-datasets' real preparation, on a generated archive."""

import hashlib
import io
import tarfile
from functools import partial

import numpy as np
import pytest

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.dataset import image_shape, load_dataset, load_labels
from diffenc_jax.data.sources import SOURCES
from tests import tiny


def test_synthetic_is_a_swirl_of_256_levels():
    dataset = load_dataset(DataConfig("synthetic"), "train", "test")
    assert dataset.shape == (1, 1, 2)
    points = (dataset.splits["train"][:, 0, 0].astype(float) + 0.5) / 128 - 1
    radius, angle = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0])
    # On the curve, angle = 3π r / 0.9 up to whole turns; the blur is 0.02.
    off = np.angle(np.exp(1j * (angle - 3 * np.pi * radius / 0.9)))
    off_radius = np.abs(off[radius > 0.3]) * 0.9 / (3 * np.pi)
    assert off_radius.mean() == pytest.approx(0.02 * np.sqrt(2 / np.pi), rel=0.2)


def test_labels_are_in_the_order_of_the_images():
    from sklearn.datasets import load_digits

    config = DataConfig("digits", pixel_levels=17)
    digits = load_digits()
    target = {image.astype(np.uint8).tobytes(): of for image, of in zip(digits.images, digits.target, strict=True)}
    for split, images in load_dataset(config, "train", "test").splits.items():
        np.testing.assert_array_equal(load_labels(config, split), [target[image.tobytes()] for image in images])
    assert load_labels(DataConfig("synthetic", pixel_levels=17), "test") is None


@pytest.mark.parametrize("name", SOURCES)
def test_shapes_are_known_before_the_images_are_there(name, monkeypatch):
    config = DataConfig(name)
    if not isinstance(SOURCES[name].open, partial):  # made here, not prepared by tensorflow-datasets
        assert load_dataset(config, "test").shape == image_shape(config)
        return
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    import tensorflow_datasets as tfds

    (theirs, *_) = SOURCES[name].open.args
    assert tfds.builder(theirs).info.features["image"].shape == image_shape(config)


def test_shapes_of_images_at_a_path(tmp_path):
    np.save(tmp_path / "images.npy", tiny.images(4, shape=(6, 5, 3)))
    assert image_shape(DataConfig(str(tmp_path / "images.npy"), pixel_levels=17)) == (6, 5, 3)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'cifar' is neither a known data set \(digits, synthetic, cifar10"):
        load_dataset(DataConfig("cifar", pixel_levels=17), "train")


@pytest.fixture
def cifar_archive(tmp_path, monkeypatch):
    """An archive in CIFAR-10's format, put by hand where the message says; its checksum made known."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.checksums import UrlInfo

    rng = np.random.RandomState(0)
    counts = {f"data_batch_{i}.bin": 4 for i in range(1, 6)} | {"test_batch.bin": 6}
    rows = {
        n: np.concatenate([rng.randint(0, 10, (c, 1)), rng.randint(0, 256, (c, 3072))], 1) for n, c in counts.items()
    }
    files = {name: value.astype(np.uint8).tobytes() for name, value in rows.items()}
    files["batches.meta.txt"] = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n"
    archive = tmp_path / "downloads" / "manual" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    url_infos = tfds.builder("cifar10", data_dir=tmp_path).url_infos
    known = UrlInfo(archive.stat().st_size, hashlib.sha256(archive.read_bytes()).hexdigest(), archive.name)
    for url in list(url_infos):
        monkeypatch.setitem(url_infos, url, known)
    images = rows["test_batch.bin"][:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.uint8)
    return tmp_path, images, rows["test_batch.bin"][:, 0]


@pytest.mark.slow
def test_cifar10_through_the_real_preparation(cifar_archive):
    folder, test_images, classes = cifar_archive
    dataset = load_dataset(DataConfig("cifar10", dir=str(folder)), "train", "test")
    assert dataset.splits["train"].shape == (20, 32, 32, 3)
    config = DataConfig("cifar10", dir=str(folder))
    found = zip(dataset.splits["test"], load_labels(config, "test"), strict=True)
    known = zip(test_images, classes, strict=True)
    assert {(i.tobytes(), int(c)) for i, c in found} == {(i.tobytes(), int(c)) for i, c in known}
    half = load_dataset(config, "train", part=lambda count: np.arange(6, 16)).splits["train"]
    np.testing.assert_array_equal(half.local, dataset.splits["train"][6:16])
    again = load_dataset(DataConfig("cifar10", dir=str(folder)), "test")
    assert again.sha256("test") == dataset.sha256("test")


@pytest.mark.parametrize(
    ("name", "archive"), [("cifar10", "cifar-10-binary.tar.gz"), ("imagenet32", "Imagenet32_val_npz.zip")]
)
def test_what_cannot_be_downloaded_says_where_to_put_it(tmp_path, monkeypatch, name, archive):
    def unresolved(*_):
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", unresolved)
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InputError, match="cannot be downloaded") as caught:
        SOURCES[name].open(tmp_path)
    assert archive in str(caught.value)
    assert str(tmp_path / "downloads" / "manual") in str(caught.value)
