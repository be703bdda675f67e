"""Training with augmentation: what a step is given, at the end points, in parts and on several devices."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.data.images import Batch
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.inputs import every_kth
from diffenc_jax.train.step import StepFunction
from tests import tiny

ROOT = Path(__file__).parents[2]
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


def test_without_conditioning_the_images_are_the_same_and_there_are_no_flags():
    plain, conditioned = draw(step_of(conditioned=False)), draw(step_of())
    assert plain.batch.augmentation is None
    np.testing.assert_array_equal(plain.batch.pixels, conditioned.batch.pixels)


def test_a_step_without_augmentation_has_its_batch_and_the_other_draws():
    plain, augmented = draw(step_of(None, False)), draw(step_of())
    np.testing.assert_array_equal(plain.batch.pixels, PIXELS)
    assert plain.batch.augmentation is None
    jax.tree.map(np.testing.assert_array_equal, plain.noise, augmented.noise)


def test_every_step_and_seed_augments_anew():
    images = [np.asarray(draw(step_of(seed=seed), number).batch.pixels) for seed, number in ((0, 3), (0, 4), (1, 3))]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.mean(np.any(images[a] != images[b], axis=(1, 2, 3))) > 0.5
    np.testing.assert_array_equal(images[0], draw(step_of()).batch.pixels)


def test_what_does_not_suit_the_images_is_refused():
    for augment, shape in (("rotate", (4, 5, 1)), ("colors", (4, 4, 1))):
        config = tiny.config("vdm", small=True, train__augment=augment)
        with pytest.raises(InputError, match=rf"'{augment}' .*; leave it out of train.augment"):
            build(config, ImageSpec(shape, tiny.LEVELS))


DEVICES = """
import jax, numpy as np
from diffenc_jax.parallel.sharding import batched
from tests.train.test_augmentation import PIXELS, draw, jnp, Batch, step_of
mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(8, 1), ("data", "fsdp"))
batch = Batch(jax.device_put(jnp.asarray(PIXELS), batched(mesh)))
one, eight = draw(step_of()).batch, jax.jit(step_of().inputs)(jnp.int32(3), batch, None).batch
assert len(eight.pixels.sharding.device_set) == 8
jax.tree.map(np.testing.assert_array_equal, one, eight)
"""


@pytest.mark.slow  # another process
def test_eight_devices_augment_as_one():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", DEVICES], cwd=ROOT, env=os.environ | flags, check=True, timeout=300)
