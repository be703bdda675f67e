"""Fingerprints: the same images have the same one, others do not, and well-known ones have a name."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.data.dataset import load_dataset
from diffenc_jax.data.fingerprints import known_as, sha256, sha256_any_order
from diffenc_jax.data.spec import DataSpec
from tests import tiny

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
