"""Images that are read on demand, and batches: a function of (seed, step), each image once an epoch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.core.errors import InputError
from diffenc_jax.data.images import Batch, LabelArrays, LabelSpec, LocalPart, OnDemand, read_rows, subset
from diffenc_jax.data.pipeline import Order, eval_batches
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


@settings(deadline=None, max_examples=50)
@given(size=st.integers(12, 60), batch=st.integers(1, 24), shards=st.integers(1, 12), seed=st.integers(0, 1000))
def test_every_image_of_a_shard_once_an_epoch(size, batch, shards, seed):
    order = Order(size, seed, batch, shards)
    assert batch % order.num_shards == shards % order.num_shards == 0
    share = batch // order.num_shards
    ends = [s * size // order.num_shards for s in range(order.num_shards + 1)]
    steps = np.stack([order.batch(k) for k in range(2 * -(-size // batch) + 1)])
    for shard, (first, last) in enumerate(itertools.pairwise(ends)):
        stream = steps[:, shard * share : (shard + 1) * share].ravel()
        length = last - first
        for epoch in range(len(stream) // length):
            assert sorted(stream[epoch * length : (epoch + 1) * length]) == list(range(first, last))


@settings(deadline=None, max_examples=30)
@given(size=st.integers(16, 60), hosts=st.sampled_from([1, 2, 4, 8]), step=st.integers(0, 20))
def test_hosts_together_have_the_batch_of_one(size, hosts, step):
    order = Order(size, 3, 16, 8)
    parts = np.split(np.arange(16), hosts)
    np.testing.assert_array_equal(np.concatenate([order.batch(step, rows) for rows in parts]), order.batch(step))
    needed = [order.needed(rows) for rows in parts]
    # No image is needed by two hosts, and each finds its own among those that it needs.
    assert sorted(np.concatenate(needed)) == list(range(size))
    for rows, numbers in zip(parts, needed, strict=True):
        assert set(order.batch(step, rows)) <= set(numbers)


def test_the_order_depends_on_seed_and_epoch_alone():
    first = Order(1000, 0, 1000, 1).batch(0)
    np.testing.assert_array_equal(first, Order(1000, 0, 1000, 1).batch(0))
    halves = [Order(1000, 0, 500, 1).batch(k) for k in (0, 1)]
    np.testing.assert_array_equal(first, np.concatenate(halves))
    for other in (Order(1000, 0, 1000, 1).batch(1), Order(1000, 1, 1000, 1).batch(0)):
        assert np.mean(first == other) < 0.02


def test_the_order_is_fixed_across_versions():
    """A stored run must go on in the same order on another machine. Each shard has an order of its own."""
    assert Order(10, 0, 10, 1).batch(0).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    assert Order(12, 0, 6, 3).batch(1).tolist() == [1, 3, 5, 6, 8, 11]


def test_fewer_images_than_shards_are_refused():
    with pytest.raises(InputError, match=r"5 training images are fewer than 8 shuffle shards"):
        Order(5, 0, 16, 8)


@pytest.mark.parametrize("batch_size", [1, 7, 20, 64])
def test_evaluation_sees_every_image_once(batch_size):
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    seen = []
    for part in eval_batches(Batch(images, 2 * np.arange(20)), batch_size):
        assert part.batch.data.shape == (batch_size, 1, 1, 1)
        np.testing.assert_array_equal(part.batch.data[:, 0, 0, 0], part.indices)
        np.testing.assert_array_equal(part.batch.labels, 2 * part.indices)
        seen += part.indices[: part.valid].tolist()
    assert seen == list(range(20))
