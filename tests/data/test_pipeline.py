"""Batches: a function of (seed, step), each image once an epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.data.pipeline import batch_indices, eval_batches


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 60), batch=st.integers(1, 70), seed=st.integers(0, 1000), epochs=st.integers(1, 3))
def test_every_image_once_an_epoch_whatever_the_batch(size, batch, seed, epochs):
    steps = -(-epochs * size // batch)
    stream = np.concatenate([batch_indices(size, seed, k, batch) for k in range(steps)])
    for epoch in range(epochs):
        assert sorted(stream[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_the_order_depends_on_seed_and_epoch_alone():
    first = batch_indices(1000, 0, 0, 1000)
    np.testing.assert_array_equal(first, batch_indices(1000, 0, 0, 1000))
    halves = [batch_indices(1000, 0, k, 500) for k in (0, 1)]
    np.testing.assert_array_equal(first, np.concatenate(halves))
    for other in (batch_indices(1000, 0, 1, 1000), batch_indices(1000, 1, 0, 1000)):
        assert np.mean(first == other) < 0.02


def test_the_order_is_fixed_across_versions():
    """A stored run must go on in the same order on another machine."""
    assert batch_indices(10, 0, 0, 10).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


@pytest.mark.parametrize("batch_size", [1, 7, 20, 64])
def test_evaluation_sees_every_image_once(batch_size):
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    seen = []
    for batch in eval_batches(images, batch_size):
        assert batch.images.shape == (batch_size, 1, 1, 1)
        np.testing.assert_array_equal(batch.images[:, 0, 0, 0], batch.indices)
        seen += batch.indices[: batch.valid].tolist()
    assert seen == list(range(20))
