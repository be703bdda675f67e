"""Batches on devices are those of the order of the training images, one at a time or several in one argument."""

import jax
import numpy as np
import pytest

from diffenc_jax.data.images import Batch, LocalPart
from diffenc_jax.data.pipeline import Order
from diffenc_jax.parallel.batches import ON_DEVICE_MIB, Batches, ResidentFeed, is_on_device, needed_rows
from diffenc_jax.parallel.sharding import make_mesh
from tests import tiny


@pytest.mark.parametrize("labels", [None, np.arange(20, dtype=np.int32)])
def test_every_batch_of_a_feed_is_that_of_its_step(labels):
    batches = Batches(Batch(tiny.images(20), labels), tiny.config(), make_mesh())
    feed = ResidentFeed(batches, 4)
    pick = jax.jit(feed.pick)
    for step, count in ((0, 4), (3, 2), (7, 1)):
        argument = feed(step, count)
        for index in range(count):
            jax.tree.map(np.testing.assert_array_equal, pick(argument, index), batches(step + index))


def test_images_stay_on_the_devices_if_they_are_few():
    few, many = (Batch(np.broadcast_to(np.uint8(0), (count, 1024, 1024, 1))) for count in (1, ON_DEVICE_MIB + 1))
    assert [is_on_device(train) for train in (few, many)] == [True, False]


def test_batches_follow_the_order_of_the_seed():
    config, images = tiny.config(seed=3, data__shuffle_shards=2), tiny.images(20)
    batches, order = Batches(Batch(images), config, make_mesh()), Order(20, 3, 8, 2)
    for step in (0, 1, 7):
        np.testing.assert_array_equal(batches(step).pixels, images[order.batch(step)])


def test_the_needed_images_are_enough():
    config, mesh, images = tiny.config(), make_mesh(), tiny.images(20)
    rows = needed_rows(config, mesh)(20)
    labels = np.arange(20, dtype=np.int32)
    held = Batch(LocalPart(images[rows], rows, images.shape), LocalPart(labels[rows], rows, labels.shape))
    part, whole = (Batches(split, config, mesh)(5) for split in (held, Batch(images, labels)))
    np.testing.assert_array_equal(part.pixels, whole.pixels)
    np.testing.assert_array_equal(part.labels, whole.labels)
    np.testing.assert_array_equal(images[np.asarray(whole.labels)], whole.pixels)
