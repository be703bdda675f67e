"""Named data sets."""

import numpy as np
import pytest

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.dataset import image_shape, load_dataset, load_labels
from tests import tiny
from tests.registered import SOURCES


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
def test_shapes_are_known_before_the_images_are_there(name):
    config = DataConfig(name)
    if not SOURCES[name].tfds:  # made here, not prepared by tensorflow-datasets
        assert load_dataset(config, "test").shape == image_shape(config)
        return
    assert image_shape(DataConfig(f"tfds:{SOURCES[name].tfds}")) == image_shape(config)


def test_shapes_of_images_at_a_path(tmp_path):
    np.save(tmp_path / "images.npy", tiny.images(4, shape=(6, 5, 3)))
    assert image_shape(DataConfig(str(tmp_path / "images.npy"), pixel_levels=17)) == (6, 5, 3)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'cifar' is neither a known data set \(cifar10, digits, fashion_mnist"):
        load_dataset(DataConfig("cifar", pixel_levels=17), "train")


@pytest.mark.parametrize("path", ["gs://bucket/images.npz", "s3://bucket/pictures"])
def test_images_of_ones_own_are_copied_from_a_bucket_first(path):
    with pytest.raises(InputError, match="is not a local path; copy it first"):
        load_dataset(DataConfig(path), "train")
