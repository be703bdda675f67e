"""End points of some of a batch's images: the gradient stays unbiased; see test_interior.py for parts of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.schedules import FixedLinear
from diffenc_jax.model import ImageSpec
from diffenc_jax.train.gradients import every_kth
from tests.train.toy import Toy, gradient, random_draw

BATCH, K, SHAPE = 8, 4, (1, 1, 3)
MODEL = Toy(ImageSpec(SHAPE, 256), FixedLinear(-13.3, 5.0))
PARAMS = {"scale": np.float64(0.9), "encoder": np.asarray([0.3, -0.2, 0.5]), "schedule": {}}


@pytest.fixture
def draw(x64):
    return random_draw((BATCH, *SHAPE))


def with_endpoints_of(draw, first):
    """The draw with the end points of the images `first`, `first` + K, ... only."""
    endpoints, eps_0 = jax.tree.map(lambda x: x[first::K], (draw.batch, draw.noise.eps_0))
    return draw._replace(noise=draw.noise._replace(eps_0=eps_0), endpoints=endpoints)


def assert_close(actual, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), actual, expected)


def test_every_image_has_its_turn():
    images = np.arange(12)[:, None]
    turn = jax.jit(lambda first: every_kth(jnp.asarray(images), 3, first))
    turns = [np.asarray(turn(first))[:, 0] for first in range(3)]
    np.testing.assert_array_equal(np.sort(np.concatenate(turns)), np.arange(12))
    np.testing.assert_array_equal(turns[1], [1, 4, 7, 10])
    assert every_kth(jnp.asarray(images), 1, jnp.asarray(0)) is None


def test_the_mean_gradient_is_that_of_all_end_points(draw):
    outputs, expected = gradient(MODEL, PARAMS, draw)
    each = [gradient(MODEL, PARAMS, with_endpoints_of(draw, first)) for first in range(K)]
    assert_close(jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *(grads for _, grads in each)), expected)
    objectives = [float(outputs.objective) for outputs, _ in each]
    assert np.mean(objectives) == pytest.approx(float(outputs.objective), rel=1e-9)
    assert np.ptp(objectives) > 1e-4
