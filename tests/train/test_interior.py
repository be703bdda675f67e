"""The interior of a learned schedule is trained on the variance of the loss, its end points on the bound."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.losses import bound_at
from diffenc_jax.diffusion.schedules import Monotone
from diffenc_jax.model import ImageSpec
from tests.train.toy import Toy, accumulated_gradient, gradient, random_draw

SHAPE = (1, 1, 3)
MODEL = Toy(ImageSpec(SHAPE, 256), Monotone(-13.3, 5.0, hidden=16))
BITS = MODEL.spec.dims * math.log(2)


@pytest.fixture
def params(x64):
    rng = np.random.RandomState(0)
    schedule = jax.jit(MODEL.schedule.init)(jax.random.key(0), np.zeros(1))["params"]
    fresh = {"schedule": schedule, "scale": np.float64(0.9)}
    return jax.tree.map(lambda p: np.asarray(p) + 0.1 * rng.normal(size=p.shape), fresh)


def terms(params, draw):
    return bound_at(MODEL.bind(params), draw.batch.pixels, MODEL.place(params, draw.noise.t), draw.noise)


def every_other_endpoint(draw):
    endpoints, eps_0 = jax.tree.map(lambda x: x[1::2], (draw.batch, draw.noise.eps_0))
    return draw._replace(noise=draw.noise._replace(eps_0=eps_0), endpoints=endpoints)


@pytest.mark.slow
def test_gradients_are_those_of_the_bound_and_of_the_square(params):
    draw = random_draw((8, *SHAPE))
    outputs, grads = gradient(MODEL, params, draw)

    @jax.jit
    def by_hand(params, draw):
        value, of_bound = jax.value_and_grad(lambda p: terms(p, draw).total.mean() / BITS)(params)
        of_square = jax.grad(lambda p: jnp.mean((terms(p, draw).diffusion / BITS) ** 2))(params)
        return value, of_bound, of_square["schedule"]["network"]

    expected_value, of_bound, of_square = by_hand(params, draw)
    expected = of_bound | {"schedule": of_bound["schedule"] | {"network": of_square}}
    assert float(outputs.objective) == pytest.approx(float(expected_value), rel=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), grads, expected)
    # The gradient of the bound for the interior differs at so few times.
    assert not np.allclose(of_square["kernel"], of_bound["schedule"]["network"]["kernel"], rtol=0.1)


def test_parts_of_a_batch_have_the_gradients_of_the_whole(params):
    """Half of the block of each of two devices makes a part. Its end points are not those of its own images."""
    draw, order = every_other_endpoint(random_draw((8, *SHAPE))), np.array([0, 1, 4, 5, 2, 3, 6, 7])
    outputs, expected = gradient(MODEL, params, draw)
    accumulated, grads = accumulated_gradient(MODEL, params, draw, 2, 2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), grads, expected)
    np.testing.assert_allclose(accumulated.objective, outputs.objective)
    np.testing.assert_array_equal(accumulated.t, draw.noise.t[order])
    np.testing.assert_allclose(accumulated.terms.diffusion, np.asarray(outputs.terms.diffusion)[order])
