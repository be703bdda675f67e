"""Batches of several steps in one argument are those of the single steps."""

import jax
import numpy as np
import pytest

from diffenc_jax.config.sections import ON_DEVICE_MIB
from diffenc_jax.data.images import Batch
from diffenc_jax.parallel.feeding import Batches
from diffenc_jax.parallel.feeds import ResidentFeed, StackedFeed, is_on_device
from diffenc_jax.parallel.mesh import make_mesh
from tests import tiny


@pytest.mark.parametrize("labels", [None, np.arange(20, dtype=np.int32)])
def test_every_batch_of_a_feed_is_that_of_its_step(labels):
    batches = Batches(Batch(tiny.images(20), labels), tiny.config(), make_mesh())
    shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), batches(0))
    for feed in (StackedFeed(batches, 4, shapes), ResidentFeed(batches, 4)):
        pick = jax.jit(feed.pick)
        for step, count in ((0, 4), (3, 2), (7, 1)):
            argument = feed(step, count)
            for index in range(count):
                jax.tree.map(np.testing.assert_array_equal, pick(argument, index), batches(step + index))


def test_images_stay_on_the_devices_if_they_are_few_or_if_asked():
    few, many = (Batch(np.broadcast_to(np.uint8(0), (count, 1024, 1024, 1))) for count in (1, ON_DEVICE_MIB + 1))
    choice = {None: [True, False], True: [True, True], False: [False, False]}
    for asked, expected in choice.items():
        config = tiny.config(train__steps_per_call=2, data__on_device=asked)
        assert [is_on_device(config, train) for train in (few, many)] == expected
    assert not is_on_device(tiny.config(), few)
