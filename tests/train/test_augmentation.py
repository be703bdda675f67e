"""Training with augmentation: what a step is given, at the end points and in parts."""

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.data.images import Batch
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.gradients import every_kth
from diffenc_jax.train.step import StepFunction
from tests import tiny

SHAPE, KINDS = (4, 4, 2), "rotate, flip,colors"
PIXELS = tiny.images(16, SHAPE)


def step_of(augment=KINDS, conditioned=True, **changes):
    config = tiny.config(
        small=True, train__augment=augment, model__augmentation=conditioned, train__ends_every=2, **changes
    )
    return StepFunction(build(config, ImageSpec(SHAPE, tiny.LEVELS, 16)), config)


def draw(step, number=3, labels=None):
    return jax.jit(step.inputs)(jnp.int32(number), Batch(jnp.asarray(PIXELS), labels), None)


def undone(pixels, flags):
    """Images [H, W, C] before the transformations that their flags name: a flip, then a rotation, then a swap."""
    flip, rotation, swap = flags[0], np.argmax([0.5, *flags[1:4]]), flags[4]
    pixels = pixels[..., ::-1] if swap else pixels
    pixels = np.rot90(pixels, -rotation)
    return np.fliplr(pixels) if flip else pixels


def assert_flags_match(batch, originals):
    for pixels, flags, original in zip(*map(np.asarray, (batch.pixels, batch.augmentation, originals)), strict=True):
        np.testing.assert_array_equal(undone(pixels, flags), original)


def test_flags_are_those_of_the_transformations_also_at_the_end_points():
    found = draw(step_of())
    assert_flags_match(found.batch, PIXELS)
    assert np.mean(np.any(found.batch.pixels != PIXELS, axis=(1, 2, 3))) > 0.7
    assert_flags_match(found.endpoints, PIXELS[1::2])
    jax.tree.map(np.testing.assert_array_equal, found.endpoints, every_kth(found.batch, 2, jnp.int32(1)))


def test_images_keep_their_flags_and_labels_in_parts_of_a_batch():
    labels = jnp.asarray(np.random.RandomState(0).permutation(16).astype(np.int32))
    found = draw(step_of(model__labels=True), labels=labels)
    original = dict(zip(labels.tolist(), PIXELS, strict=True))
    for parts, devices in ((2, 1), (2, 4)):
        split = found.split(parts, devices)
        for batch, size in ((split.batch, 8), (split.endpoints, 4)):
            assert batch.labels.shape == (parts, size)
            joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
            assert_flags_match(joined, [original[label] for label in joined.labels.tolist()])


def test_without_conditioning_the_images_are_the_same_and_without_augmentation_the_draws():
    plain, conditioned, without = draw(step_of(conditioned=False)), draw(step_of()), draw(step_of(None, False))
    assert plain.batch.augmentation is without.batch.augmentation is None
    np.testing.assert_array_equal(plain.batch.pixels, conditioned.batch.pixels)
    np.testing.assert_array_equal(without.batch.pixels, PIXELS)
    jax.tree.map(np.testing.assert_array_equal, without.noise, conditioned.noise)


def test_every_step_and_seed_augments_anew():
    images = [np.asarray(draw(step_of(seed=seed), number).batch.pixels) for seed, number in ((0, 3), (0, 4), (1, 3))]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.mean(np.any(images[a] != images[b], axis=(1, 2, 3))) > 0.5
    np.testing.assert_array_equal(images[0], draw(step_of()).batch.pixels)
