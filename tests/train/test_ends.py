"""The end points of some of a batch's images: an unbiased gradient, however the batch is worked through."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.encoders import Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.schedules import FixedLinear
from diffenc_jax.diffusion.steps import Instant, linear
from diffenc_jax.errors import InputError
from diffenc_jax.train.draws import Draw, every
from diffenc_jax.train.gradients import gradient
from tests import tiny
from tests.diffusion.test_losses import exact_velocity

BATCH, K, SHAPE = 8, 4, (2, 3)
SCHEDULE = FixedLinear(-13.3, 5.0)
PARAMS = {"scale": np.float64(0.9), "encoder": np.asarray([0.3, -0.2, 0.5])}


def terms_and_derivative(params, pixels, noise, dropout_key, at, at_ends):
    """The bound, with an encoder and a network of few parameters."""
    gamma = lambda t: SCHEDULE.apply({}, t)  # noqa: E731
    exact = exact_velocity(jax.nn.sigmoid)
    encoder = Trainable(lambda x, gamma: jnp.sin(params["encoder"] * x + 0.1 * align(gamma, x)))
    at = Instant(*jax.jvp(gamma, (noise.t,), (jnp.ones_like(noise.t),)))
    ends = gamma(jnp.zeros(())), gamma(jnp.ones(()))
    predict = lambda z, g: params["scale"] * exact(z, g)  # noqa: E731
    return losses.bound(encoder, predict, ends, linear, pixels, 256, at, noise, at_ends), None


MODEL = SimpleNamespace(
    spec=SimpleNamespace(dims=math.prod(SHAPE)),
    schedule=SCHEDULE,
    terms_and_derivative=terms_and_derivative,
    loss=SimpleNamespace(depth=None),
    score=SimpleNamespace(scan=True),
)


@pytest.fixture
def batch(x64):
    rng = np.random.RandomState(0)
    eps_0, eps_t = jnp.asarray(rng.normal(size=(2, BATCH, *SHAPE)))
    noise = losses.Noise(jnp.asarray(rng.uniform(size=BATCH)), eps_0, eps_t)
    return jnp.asarray(rng.randint(0, 256, (BATCH, *SHAPE)).astype(np.uint8)), noise


def of_some(batch, first, parts=1, devices=1):
    """With the end points of the images `first`, `first` + K, ..."""
    pixels, noise = batch
    at_ends, eps_0 = (every(x, K, jnp.asarray(first)) for x in (pixels, noise.eps_0))
    noise = noise._replace(eps_0=eps_0)
    return gradient(MODEL, PARAMS, Draw(pixels, noise, jnp.ones(BATCH), at_ends), jax.random.key(0), parts, devices)


def assert_close(got, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), got, expected)


def test_every_image_has_its_turn():
    images = jnp.arange(12)[:, None]
    turns = [np.asarray(every(images, 3, jnp.asarray(first)))[:, 0] for first in range(3)]
    np.testing.assert_array_equal(np.sort(np.concatenate(turns)), np.arange(12))
    np.testing.assert_array_equal(turns[1], [1, 4, 7, 10])
    assert every(images, 1, jnp.asarray(0)) is None


def test_the_gradient_is_that_of_all_on_average(batch):
    looked, whole = gradient(MODEL, PARAMS, Draw(*batch, jnp.ones(BATCH)), jax.random.key(0), 1, 1)
    each = [of_some(batch, first) for first in range(K)]
    assert_close(jax.tree.map(lambda *leaves: sum(leaves) / K, *(grads for _, grads in each)), whole)
    objectives = [float(looked.objective) for looked, _ in each]
    assert np.mean(objectives) == pytest.approx(float(looked.objective), rel=1e-9)
    assert np.ptp(objectives) > 1e-4


@pytest.mark.parametrize("devices", [1, 2])
def test_parts_have_the_gradient_of_the_whole(batch, devices):
    """A part's end points are not those of its own images."""
    looked, whole = of_some(batch, 1)
    looked_at, grads = of_some(batch, 1, 2, devices)
    assert_close(grads, whole)
    assert float(looked_at.objective) == pytest.approx(float(looked.objective), rel=1e-9)


def test_none_is_refused():
    with pytest.raises(InputError, match=r"train\.ends_every must be at least 1, not 0"):
        tiny.settings(tiny.config(train__ends_every=0))
