"""Training with labels: batches carry them."""

import jax.numpy as jnp
import numpy as np

from diffenc_jax.data.images import Batch
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.gradients import every_kth
from diffenc_jax.train.step import StepFunction
from tests import tiny

CHANGES = dict(small=True, model__labels=True)


def test_labels_stay_with_their_images():
    """In parts of a batch, on several devices, and at the end points."""
    config = tiny.config(**CHANGES, train__ends_every=2)
    model = build(config, ImageSpec((4, 4, 1), tiny.LEVELS, 16))
    labels = np.random.RandomState(0).permutation(16).astype(np.int32)
    pixels = np.broadcast_to(labels[:, None, None, None], (16, 4, 4, 1)).astype(np.uint8)
    inputs = StepFunction(model, config).inputs(jnp.int32(3), Batch(jnp.asarray(pixels), jnp.asarray(labels)), None)
    for parts, devices in ((1, 1), (2, 1), (2, 4)):
        split = inputs.split(parts, devices)
        for batch, size in ((split.batch, 16 // parts), (split.endpoints, 8 // parts)):
            assert batch.labels.shape == (parts, size)
            np.testing.assert_array_equal(batch.pixels[..., 0, 0, 0], batch.labels)
    np.testing.assert_array_equal(inputs.endpoints.labels, every_kth(inputs.batch, 2, jnp.int32(1)).labels)
