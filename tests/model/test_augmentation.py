"""Conditions of a model: labels, what each changes and leaves, and the augmentations of images."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax.traverse_util import flatten_dict, unflatten_dict

from diffenc_jax.config.sections import AUGMENTATIONS
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.images import Batch, LabelSpec
from diffenc_jax.diffusion.losses import bound_at
from diffenc_jax.model import DataSpec, build
from diffenc_jax.model.augmentation import make_augmentation
from diffenc_jax.nets.network import ScoreNetwork
from tests import tiny

COUNTS = (2, 4, 6)  # flips, rotations and permutations of three channels
ALL = make_augmentation(AUGMENTATIONS, (4, 4, 3))
ELEMENTS = np.array(list(itertools.product(*map(range, COUNTS))))  # [48, 3]
CHOICE = dict(zip(AUGMENTATIONS, jnp.asarray(ELEMENTS.T), strict=True))


def transformed(image, flip, rotation, permutation):
    """One image [H, W, C] by numpy."""
    image = np.rot90(np.fliplr(image) if flip else image, rotation)
    return image[..., list(itertools.permutations(range(3)))[permutation]]


def test_all_elements_are_equally_probable():
    choice = ALL.draw(jax.random.key(0), 48 * 500)
    number = np.ravel_multi_index([np.asarray(choice[kind]) for kind in AUGMENTATIONS], COUNTS)
    counts = np.bincount(number, minlength=48)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert np.mean(choice["flip"]) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(48 * 500))


def test_the_choice_of_a_kind_does_not_depend_on_the_others():
    every = ALL.draw(jax.random.key(3), 50)
    for kind in AUGMENTATIONS:
        alone = make_augmentation((kind,), (4, 4, 3)).draw(jax.random.key(3), 50)
        np.testing.assert_array_equal(alone[kind], every[kind])


def test_images_are_those_of_numpy():
    image = np.random.RandomState(0).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    found = jax.jit(ALL.apply)(jnp.asarray(image)[None].repeat(48, axis=0), CHOICE)
    assert found.dtype == jnp.uint8
    for number, element in enumerate(ELEMENTS):
        np.testing.assert_array_equal(found[number], transformed(image, *element))
    assert len({bytes(np.asarray(x)) for x in found}) == 48
    np.testing.assert_array_equal(found[0], image)


def test_flags_say_what_was_done():
    """One flag per transformation other than the identity, in the order of the kinds."""
    flags = np.asarray(ALL.flags(CHOICE))
    assert flags.shape == (48, ALL.num_flags) == (48, 1 + 3 + 5)
    expected = [np.eye(count)[numbers][:, 1:] for count, numbers in zip(COUNTS, ELEMENTS.T, strict=True)]
    np.testing.assert_array_equal(flags, np.concatenate(expected, axis=1))


UNSUITABLE = [
    ("flip", (2, 1, 3), r"'flip' mirrors images from left to right, but these are 2x1 with 3 channels; leave it"),
    ("rotate", (2, 3, 1), r"'rotate' turns square images by .*, but these are 2x3 with 1 channel; leave it out of"),
    ("rotate", (1, 1, 1), r"'rotate' turns square images"),
    ("colors", (4, 4, 1), r"'colors' permutes 2 to 4 channels, but these are 4x4 with 1 channel; leave it out"),
    ("colors", (4, 4, 5), r"'colors' permutes 2 to 4 channels, but these are 4x4 with 5 channels"),
]


@pytest.mark.parametrize(("kind", "shape", "message"), UNSUITABLE)
def test_what_does_not_suit_the_images_is_refused(kind, shape, message):
    with pytest.raises(InputError, match=message):
        make_augmentation((kind,), shape)


CLASSES = 3
SPEC = DataSpec((4, 4, 1), tiny.LEVELS, LabelSpec(CLASSES))
PIXELS, LABELS = tiny.images(6), np.asarray([0, 2, 1, 1, 0, 2], np.int32)
FLAGS = np.asarray([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]], np.float32)
AUGMENTED = {"train__augment": "flip,rotate"}
# Changes to a configuration of a conditioned model and of the plain one, a batch, and whether its images have a
# condition that is not zero.
CONDITIONS = {
    "labels": ({"model__labels": True}, {}, Batch(PIXELS, LABELS), np.ones(6, bool)),
    "flags": (AUGMENTED | {"model__augmentation": True}, AUGMENTED, Batch(PIXELS, None, FLAGS), FLAGS.any(axis=1)),
}


@cache
def labelled():
    """A model that is conditioned on labels, and its parameters."""
    model = build(tiny.config(small=True, model__labels=True), SPEC)
    return model, tiny.drawn(model, scale=0.3)


@partial(jax.jit, static_argnums=0)
def terms(model, params, batch):
    """The bound by term of all images."""
    noise = model.draw_noise(jax.random.key(1), jnp.linspace(0.05, 0.95, 6))
    process = model.bind(params, condition=model.condition(params, batch))
    return bound_at(process, batch.data, model.point(params, noise.t), noise)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_without_the_kernels_of_the_condition_it_is_the_unconditional_model(condition):
    """Images without augmentation have its values with any kernels."""
    changes, of_plain, batch, changed = CONDITIONS[condition]
    model, plain = (build(tiny.config(small=True, **given), SPEC) for given in (changes, of_plain))
    params = tiny.drawn(model, scale=0.3)
    flat = flatten_dict(params, keep_empty_nodes=True)
    kernels = {path for path in flat if "condition" in path}
    assert {path[0] for path in kernels} == {"score", "encoder"}
    zero = unflatten_dict({path: np.zeros_like(leaf) if path in kernels else leaf for path, leaf in flat.items()})
    expected = jax.tree.map(np.asarray, terms(plain, tiny.without_condition(params), Batch(PIXELS)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), terms(model, zero, batch), expected)
    found = jax.tree.map(np.asarray, terms(model, params, batch))
    for name in ("latent", "diffusion"):
        change = np.abs(getattr(found, name) / getattr(expected, name) - 1)
        np.testing.assert_array_equal(change > 1e-5, changed, name)


def test_a_label_is_that_of_its_own_image():
    """Another label changes the terms of this image, in score network and encoder, and of no other."""
    changed = np.where(np.arange(6) == 3, 2, LABELS)
    before, after = (terms(*labelled(), Batch(PIXELS, labels)) for labels in (LABELS, changed))
    for name in ("reconstruction", "latent", "diffusion"):
        changed = np.asarray(getattr(before, name)) != np.asarray(getattr(after, name))
        np.testing.assert_array_equal(changed, np.arange(6) == 3)


def test_networks_are_not_called_without_their_condition():
    model, params = labelled()
    process = model.bind(params)
    assert float(process.endpoints[0]) == pytest.approx(model.gamma_range[0])
    inputs = np.zeros((6, *SPEC.shape), np.float32), np.zeros(6, np.float32)
    with pytest.raises(ValueError, match="the model is conditioned; bind it with the condition of a batch"):
        jax.eval_shape(process.predict, *inputs)
    with pytest.raises(ValueError, match="the model is conditioned"):
        jax.eval_shape(process.encoder.mean, *inputs)


class Unconditional(ScoreNetwork):
    """A network that takes no condition."""

    takes_condition = False


def test_what_cannot_be_conditioned_is_refused():
    config = tiny.config("vdm", small=True, model__labels=True)
    for classes in (0, 1):
        with pytest.raises(InputError, match=rf"needs images of two classes or more; these have {classes}"):
            build(config, DataSpec(SPEC.shape, tiny.LEVELS, LabelSpec(classes)))
    plain = config.replace({"model.score": {"kind": parts.Allowed(f"{__name__}:Unconditional")}})
    with pytest.raises(InputError, match=r"that take a condition, and the network of model.score.kind takes none"):
        build(plain, SPEC)


IN_IMAGES = DataSpec(SPEC.shape, tiny.LEVELS, LabelSpec(shape=(2, 2, 1)))


def test_a_label_that_is_an_image_gives_its_values():
    """The condition holds the values in [-1, 1] of each image's own label, in its order."""
    model = build(tiny.config("vdm", small=True, model__labels=True), IN_IMAGES)
    labels = tiny.images(6, (2, 2, 1), seed=3)
    batch = model.batch(PIXELS, labels)
    values = (2 * labels.reshape(6, 4).astype(np.float64) + 1) / tiny.LEVELS - 1
    np.testing.assert_allclose(jax.jit(model.condition)({}, batch), values, rtol=1e-5, atol=1e-6)
    kernel = jax.eval_shape(model.init, jax.random.key(0))["score"]["time"]["condition"]["kernel"]
    assert kernel.shape[0] == 4


REFUSED = [
    (np.full((6, 2, 2, 1), tiny.LEVELS), "pixels must lie in 0 .. 16; those of these images lie in 17 .. 17"),
    (np.zeros((6, 2, 1, 1), np.uint8), r"labels must be \[N, 2, 2, 1\]; these are \[6, 2, 1, 1\]"),
    (np.zeros((5, 2, 2, 1), np.uint8), "give one label per example; these are 5 for 6 examples"),
    (None, "the model is conditioned on labels; give labels"),
]


@pytest.mark.parametrize(("labels", "message"), REFUSED)
def test_labels_that_are_other_images_are_refused(labels, message):
    model = build(tiny.config("vdm", small=True, model__labels=True), IN_IMAGES)
    with pytest.raises(InputError, match=message):
        model.batch(PIXELS, labels)


def test_an_augmentation_would_leave_labels_behind():
    config = tiny.config("vdm", small=True, model__labels=True, train__augment="flip")
    with pytest.raises(InputError, match="would change the images and not the images that are their labels"):
        build(config, IN_IMAGES)
