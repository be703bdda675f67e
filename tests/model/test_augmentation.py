"""Augmentation: its distribution, its images against numpy, and the flags that say what was done."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from diffenc_jax.config.sections import AUGMENTATIONS
from diffenc_jax.core.errors import InputError
from diffenc_jax.model.augmentation import make_augmentation

COUNTS = (2, 4, 6)  # flips, rotations and permutations of three channels
ALL = make_augmentation(AUGMENTATIONS, (4, 4, 3))
ELEMENTS = np.array(list(itertools.product(*map(range, COUNTS))))  # [48, 3]
CHOICE = dict(zip(AUGMENTATIONS, jnp.asarray(ELEMENTS.T), strict=True))


def transformed(image, flip, rotation, permutation):
    """One image [H, W, C] by numpy."""
    image = np.rot90(np.fliplr(image) if flip else image, rotation)
    return image[..., list(itertools.permutations(range(3)))[permutation]]


def test_all_elements_are_equally_probable():
    choice = ALL.draw(jax.random.key(0), 48 * 500)
    number = np.ravel_multi_index([np.asarray(choice[kind]) for kind in AUGMENTATIONS], COUNTS)
    counts = np.bincount(number, minlength=48)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert np.mean(choice["flip"]) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(48 * 500))


def test_the_choice_of_a_kind_does_not_depend_on_the_others():
    every = ALL.draw(jax.random.key(3), 50)
    for kind in AUGMENTATIONS:
        alone = make_augmentation((kind,), (4, 4, 3)).draw(jax.random.key(3), 50)
        np.testing.assert_array_equal(alone[kind], every[kind])


def test_images_are_those_of_numpy():
    image = np.random.RandomState(0).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    found = jax.jit(ALL.apply)(jnp.asarray(image)[None].repeat(48, axis=0), CHOICE)
    assert found.dtype == jnp.uint8
    for number, element in enumerate(ELEMENTS):
        np.testing.assert_array_equal(found[number], transformed(image, *element))
    assert len({bytes(np.asarray(x)) for x in found}) == 48
    np.testing.assert_array_equal(found[0], image)


def test_flags_say_what_was_done():
    """One flag per transformation other than the identity, in the order of the kinds."""
    flags = np.asarray(ALL.flags(CHOICE))
    assert flags.shape == (48, ALL.num_flags) == (48, 1 + 3 + 5)
    expected = [np.eye(count)[numbers][:, 1:] for count, numbers in zip(COUNTS, ELEMENTS.T, strict=True)]
    np.testing.assert_array_equal(flags, np.concatenate(expected, axis=1))


UNSUITABLE = [
    ("flip", (2, 1, 3), r"'flip' mirrors images from left to right, but these are 2x1 with 3 channels; leave it"),
    ("rotate", (2, 3, 1), r"'rotate' turns square images by .*, but these are 2x3 with 1 channel; leave it out of"),
    ("rotate", (1, 1, 1), r"'rotate' turns square images"),
    ("colors", (4, 4, 1), r"'colors' permutes 2 to 4 channels, but these are 4x4 with 1 channel; leave it out"),
    ("colors", (4, 4, 5), r"'colors' permutes 2 to 4 channels, but these are 4x4 with 5 channels"),
]


@pytest.mark.parametrize(("kind", "shape", "message"), UNSUITABLE)
def test_what_does_not_suit_the_images_is_refused(kind, shape, message):
    with pytest.raises(InputError, match=message):
        make_augmentation((kind,), shape)
