"""Batches on devices are those of the order of the training images."""

import numpy as np

from diffenc_jax.data.images import Batch, LocalPart
from diffenc_jax.data.pipeline import Order
from diffenc_jax.parallel.batches import Batches, needed_rows
from diffenc_jax.parallel.sharding import make_mesh
from tests import tiny


def test_batches_follow_the_order_of_the_seed():
    config, images = tiny.config(seed=3, data__shuffle_shards=2), tiny.images(20)
    batches, order = Batches(Batch(images), config, make_mesh()), Order(20, 3, 8, 2)
    for step in (0, 1, 7):
        np.testing.assert_array_equal(batches(step).data, images[order.batch(step)])


def test_the_needed_images_are_enough():
    config, mesh, images = tiny.config(), make_mesh(), tiny.images(20)
    rows = needed_rows(config, mesh)(20)
    labels = np.arange(20, dtype=np.int32)
    held = Batch(LocalPart(images[rows], rows, images.shape), LocalPart(labels[rows], rows, labels.shape))
    part, whole = (Batches(split, config, mesh)(5) for split in (held, Batch(images, labels)))
    np.testing.assert_array_equal(part.data, whole.data)
    np.testing.assert_array_equal(part.labels, whole.labels)
    np.testing.assert_array_equal(images[np.asarray(whole.labels)], whole.data)
