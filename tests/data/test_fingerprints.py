"""Named data sets, and fingerprints: the same images have the same one, others do not."""

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError
from diffenc_jax.data import sources
from diffenc_jax.data.dataset import load_dataset
from diffenc_jax.data.fingerprints import known_as, sha256, sha256_any_order
from diffenc_jax.data.images import NO_LABELS, LabelSpec
from diffenc_jax.data.prepared import PreparedSource
from diffenc_jax.data.spec import DataSpec
from tests import tiny
from tests.registered import SOURCES

FASHION = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
IMAGES = tiny.images(20)
BACKWARDS = IMAGES[::-1]
UNKNOWN = "0" * 64


def read(source, levels=256):
    return load_dataset(DataConfig(str(source), pixel_levels=levels), "train", "test")


def test_the_digests_are_what_they_say():
    assert sha256(BACKWARDS) == hashlib.sha256(BACKWARDS.tobytes()).hexdigest()
    parts = sorted(hashlib.sha256(image.tobytes()).digest() for image in IMAGES)
    assert sha256_any_order(IMAGES) == hashlib.sha256(b"4x4x1\n" + b"".join(parts)).hexdigest()


OTHERS = [IMAGES[:-1], np.concatenate([IMAGES, IMAGES[:1]]), IMAGES.reshape(20, 2, 8, 1), IMAGES.transpose(0, 2, 1, 3)]


@pytest.mark.parametrize("others", OTHERS, ids=["one less", "one twice", "another shape", "transposed"])
def test_only_the_order_does_not_matter(others):
    assert sha256_any_order(others) != sha256_any_order(IMAGES) == sha256_any_order(BACKWARDS)


SHIPPED = [("digits", 17, "scikit-learn's digits"), ("synthetic", 256, "synthetic swirl")]


@pytest.mark.parametrize(("source", "levels", "name"), SHIPPED)
def test_what_ships_is_known(source, levels, name):
    dataset = read(source, levels)
    for split in ("train", "test"):
        images, fingerprint = dataset.split(split).data, dataset.split(split).fingerprint
        assert fingerprint == {
            "name": source,
            "version": "1",
            "split": split,
            "num_examples": len(images),
            "dims": images[0].size,
            "sha256": hashlib.sha256(images.tobytes()).hexdigest(),
            "sha256_any_order": sha256_any_order(images),
            "known_as": {"as": f"{name}, {split}", "by": "digest"},
        }


def test_a_changed_pixel_is_unknown_and_another_order_or_split_is_not():
    images = read("digits", 17).split("test").data
    shuffled = np.random.RandomState(0).permutation(images)
    dataset = tiny.dataset({"train": shuffled}, spec=DataSpec((8, 8, 1), 17))
    assert dataset.split("train").fingerprint["known_as"] == {"as": "scikit-learn's digits, test", "by": "digest"}
    changed = images.copy()
    changed[100, 3, 3, 0] ^= 1
    assert tiny.dataset({"test": changed}, spec=DataSpec((8, 8, 1), 17)).split("test").fingerprint["known_as"] is None


@pytest.mark.skipif(not FASHION.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_known_from_its_published_files():
    dataset = read(FASHION)
    for split in ("train", "test"):
        assert dataset.split(split).fingerprint["known_as"] == {"as": f"Fashion-MNIST, {split}", "by": "digest"}


def test_both_imagenets_are_told_apart_and_cifar_is_neither():
    sets = [("train", 1_281_149, "old"), ("train", 1_281_167, "new"), ("test", 49_999, "old"), ("test", 50_000, "new")]
    for size, (split, count, name) in itertools.product((32, 64), sets):
        known = known_as(UNKNOWN, count, (size, size, 3), split)
        assert known["as"].startswith(f"ImageNet{size}, {name} (")
        assert known["as"].endswith({"train": ", train", "test": ", validation"}[split])
    for count, size, split in (50_000, 32, "train"), (50_001, 32, "test"), (50_000, 8, "test"):
        assert known_as(UNKNOWN, count, (size, size, 3), split) is None


def test_shape_and_classes_that_only_the_source_knows_are_asked_of_it():
    unknown, config = replace(sources.DIGITS, shape=None, labels=None), DataConfig("digits", pixel_levels=17)
    assert unknown.spec(config, has_labels=True) == DataSpec((8, 8, 1), 17, LabelSpec(10))


def test_synthetic_is_a_swirl_of_256_levels():
    dataset = load_dataset(DataConfig("synthetic"), "train", "test")
    assert dataset.spec.shape == (1, 1, 2)
    points = (dataset.split("train").data[:, 0, 0].astype(float) + 0.5) / 128 - 1
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
    dataset = load_dataset(config, "train", "test", labels=True)
    for split in map(dataset.split, ("train", "test")):
        np.testing.assert_array_equal(split.labels, [target[image.tobytes()] for image in split.data])


@pytest.mark.parametrize("name", SOURCES)
def test_shape_and_classes_are_known_before_the_images_are_there(name):
    config, source = DataConfig(name), SOURCES[name]
    has_labels = source.labels != NO_LABELS
    known = source.spec(config, has_labels)
    if isinstance(source, PreparedSource):
        by_name = DataConfig(f"tfds:{source.tfds}")
        assert known == sources.named_source(by_name).spec(by_name, has_labels)
    else:
        assert known == load_dataset(config, "test", labels=has_labels).spec


def test_a_source_without_labels():
    with pytest.raises(InputError, match=r"synthetic has no labels, which model.labels=True needs; give a data set"):
        sources.SYNTHETIC.spec(DataConfig("synthetic"), has_labels=True)
