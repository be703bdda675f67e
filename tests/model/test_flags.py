"""Models that are conditioned on augmentation: what the flags change, and what images without augmentation have."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.losses import bound_at
from diffenc_jax.model import ImageSpec, build
from tests import tiny
from tests.model.test_labels import without_condition

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS, 3)
PIXELS = tiny.images(6)
FLAGS = np.asarray([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]], np.float32)
PLAIN = np.array([True, False, False, False, False, True])  # images without augmentation


def built(conditioned=True, **changes):
    config = tiny.config(small=True, train__augment="flip,rotate", model__augmentation=conditioned, **changes)
    return build(config, SPEC)


@partial(jax.jit, static_argnums=0)
def bound(model, params, flags):
    """The bound [6] of all images."""
    noise = model.draw_noise(jax.random.key(1), jnp.linspace(0.05, 0.95, 6))
    pixels = jnp.asarray(PIXELS)
    process = model.bind(params, condition=model.condition(params, Batch(pixels, None, flags)))
    return bound_at(process, pixels, model.place(params, noise.t), noise).total


def test_without_the_kernels_of_the_flags_it_is_the_plain_model():
    """Images without augmentation have its values with any kernels."""
    model, plain = built(), built(False)
    assert plain.score.conditions == 0
    params = tiny.drawn(model.init)
    flat = flatten_dict(params, keep_empty_nodes=True)
    zero = unflatten_dict({path: np.zeros_like(leaf) if "condition" in path else leaf for path, leaf in flat.items()})
    expected = np.asarray(bound(plain, without_condition(params), None))
    np.testing.assert_allclose(bound(model, zero, FLAGS), expected, rtol=1e-5)
    found = np.asarray(bound(model, params, FLAGS))
    np.testing.assert_allclose(found[PLAIN], expected[PLAIN], rtol=1e-5)
    assert np.all(np.abs(found / expected - 1)[~PLAIN] > 1e-5)
