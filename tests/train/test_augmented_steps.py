"""Training with augmentation: what a step is given, at the end points and in parts."""

import functools

import jax
import numpy as np

from diffenc_jax.data.images import Batch, LabelSpec
from diffenc_jax.model import DataSpec, build
from diffenc_jax.train.program import TrainingProgram
from tests import tiny

SHAPE, KINDS = (4, 4, 2), "rotate, flip,colors"
PIXELS = tiny.images(16, SHAPE)
LABELS = np.random.RandomState(0).permutation(16).astype(np.int32)


@functools.cache
def inputs_of(augment=KINDS, conditioned=True, **changes):
    """The compiled function that draws the inputs of a step."""
    changes |= {"train__augment": augment, "train__endpoint_interval": 2}
    config = tiny.config("vdm", small=True, model__augmentation=conditioned, model__labels=True, **changes)
    return jax.jit(TrainingProgram(build(config, DataSpec(SHAPE, tiny.LEVELS, LabelSpec(16))), config).inputs)


def draw(inputs, number=3, seed=0):
    return inputs(np.uint32(seed), np.int32(number), Batch(PIXELS, LABELS), None)


def undone(pixels, flags):
    """Images [H, W, C] before the transformations that their flags name: a flip, then a rotation, then a swap."""
    flip, rotation, swap = flags[0], np.argmax([0.5, *flags[1:4]]), flags[4]
    pixels = pixels[..., ::-1] if swap else pixels
    pixels = np.rot90(pixels, -rotation)
    return np.fliplr(pixels) if flip else pixels


def assert_flags_match(batch, originals):
    for pixels, flags, original in zip(*map(np.asarray, (batch.data, batch.augmentation, originals)), strict=True):
        np.testing.assert_array_equal(undone(pixels, flags), original)


def test_flags_are_those_of_the_transformations_also_at_the_end_points():
    found = draw(inputs_of())
    assert_flags_match(found.batch, PIXELS)
    assert np.mean(np.any(found.batch.data != PIXELS, axis=(1, 2, 3))) > 0.7
    assert_flags_match(found.endpoints, PIXELS[1::2])
    every_second = jax.tree.map(lambda x: x[1::2], jax.device_get(found.batch))
    jax.tree.map(np.testing.assert_array_equal, found.endpoints, every_second)


def test_images_keep_their_flags_and_labels_in_parts_of_a_batch():
    found, original = draw(inputs_of()), dict(zip(LABELS.tolist(), PIXELS, strict=True))
    split = jax.jit(lambda inputs: [inputs.split(2, devices) for devices in (1, 4)])
    for one in split(found):
        for batch, size in ((one.batch, 8), (one.endpoints, 4)):
            batch = jax.device_get(batch)
            assert batch.labels.shape == (2, size)
            joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
            assert_flags_match(joined, [original[label] for label in joined.labels.tolist()])


def test_without_conditioning_the_images_are_the_same_and_without_augmentation_the_draws():
    conditioned, others = draw(inputs_of()), (inputs_of(conditioned=False), inputs_of(None, False))
    plain, without = jax.jit(lambda: [draw(inputs) for inputs in others])()
    assert plain.batch.augmentation is without.batch.augmentation is None
    np.testing.assert_array_equal(plain.batch.data, conditioned.batch.data)
    np.testing.assert_array_equal(without.batch.data, PIXELS)
    jax.tree.map(np.testing.assert_array_equal, without.noise, conditioned.noise)


def test_every_step_and_seed_augments_anew():
    inputs = inputs_of()
    images = [np.asarray(draw(inputs, *given).batch.data) for given in ((3, 0), (4, 0), (3, 1))]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.mean(np.any(images[a] != images[b], axis=(1, 2, 3))) > 0.5
    np.testing.assert_array_equal(images[0], draw(inputs).batch.data)
