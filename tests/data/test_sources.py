"""Named data sets."""

from dataclasses import replace

import numpy as np
import pytest

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError
from diffenc_jax.data import sources
from diffenc_jax.data.dataset import load_dataset
from diffenc_jax.data.images import NO_LABELS, LabelSpec
from diffenc_jax.data.prepared import PreparedSource
from diffenc_jax.data.sources import named_source
from diffenc_jax.data.spec import DataSpec
from tests.registered import SOURCES


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
        assert known == named_source(by_name).spec(by_name, has_labels)
    else:
        assert known == load_dataset(config, "test", labels=has_labels).spec


def test_a_source_without_labels():
    with pytest.raises(InputError, match=r"synthetic has no labels, which model.labels=True needs; give a data set"):
        sources.SYNTHETIC.spec(DataConfig("synthetic"), has_labels=True)
