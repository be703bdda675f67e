"""Images that are read on demand, of which a host holds a part."""

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.data.images import LabelArrays, LabelSpec, LocalPart, OnDemand, read_rows, subset
from tests import tiny

ALL = tiny.images(20)


class Watched:
    """Images that note what is asked for."""

    shape = ALL.shape

    def __init__(self):
        self.asked = []

    def __getitem__(self, rows):
        self.asked.append((rows.start, rows.stop))
        return ALL[rows]


def test_runs_of_rows_are_read_at_once_and_nothing_else_is():
    images = Watched()
    rows = np.array([2, 3, 4, 9, 12, 13])
    np.testing.assert_array_equal(read_rows(images, rows), ALL[rows])
    assert images.asked == [(2, 5), (9, 10), (12, 14)]


def test_a_single_run_is_not_copied():
    fixed = ALL.copy()
    fixed.flags.writeable = False
    images = OnDemand(ALL.shape, lambda start, stop: fixed[start:stop])
    assert np.shares_memory(read_rows(images, np.arange(3, 8)), fixed)


def test_a_subset_is_renumbered():
    images = Watched()
    renumbered = subset(images, np.array([1, 2, 5, 6, 7, 19]))
    assert renumbered.shape == (6, 4, 4, 1)
    np.testing.assert_array_equal(renumbered[1:4], ALL[[2, 5, 6]])
    assert images.asked == [(2, 3), (5, 7)]


def test_a_local_part_keeps_the_indices_of_the_split():
    rows = np.array([4, 5, 6, 10, 11])
    part = LocalPart(ALL[rows], rows, ALL.shape)
    assert len(part) == 20
    np.testing.assert_array_equal(part[np.array([11, 4, 4])], ALL[[11, 4, 4]])
    assert part.has(np.array([3, 4, 11, 12])).tolist() == [False, True, True, False]
    with pytest.raises(IndexError, match="another host holds"):
        part[np.array([4, 7])]


def test_labels_that_are_images_are_those_of_the_images_held():
    given, rows = tiny.images(20, (2, 2, 3), seed=1), np.array([0, 7, 8])
    labels = LabelArrays({"train": lambda: given, "test": lambda: given[:5]}, LabelSpec(shape=(2, 2, 3)))
    np.testing.assert_array_equal(labels.read("set", "train", ALL), given)
    part = labels.read("set", "train", LocalPart(ALL[rows], rows, ALL.shape))
    assert part.shape == given.shape
    np.testing.assert_array_equal(part[np.array([8, 0])], given[[8, 0]])
    with pytest.raises(InputError, match=r"set: there are 5 labels of \[2, 2, 3\] for 20 images"):
        labels.read("set", "test", ALL)
