"""Training with labels: batches carry them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.data.images import Batch
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.inputs import every_kth
from diffenc_jax.train.step import StepFunction
from tests import tiny
from tests.train.toy import accumulated_gradient, gradient

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


@pytest.mark.slow
def test_parts_of_a_batch_have_the_gradient_of_the_whole():
    config = tiny.config(**CHANGES, train__ends_every=2, model__score__dropout=0.0)
    model = build(config, ImageSpec((4, 4, 1), tiny.LEVELS, 3))
    params = tiny.away_from_zero(tiny.initial(model))
    batch = Batch(jnp.asarray(tiny.images(8)), jnp.arange(8, dtype=jnp.int32) % 3)
    inputs = StepFunction(model, config).inputs(jnp.int32(0), batch, None)._replace(dropout_key=jax.random.key(0))
    _, expected = gradient(model, params, inputs)
    _, grads = accumulated_gradient(model, params, inputs, 2, 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), grads, expected)
    for network in ("score", "encoder"):
        assert np.abs(expected[network]["time"]["condition"]["kernel"]).max() > 0.01
