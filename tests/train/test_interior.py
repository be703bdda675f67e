"""The schedule's interior is trained on the variance of the loss, its end points on the bound."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.encoders import NonTrainable
from diffenc_jax.diffusion.losses import Noise
from diffenc_jax.diffusion.schedules import Monotone
from diffenc_jax.diffusion.steps import Instant, linear
from diffenc_jax.train.draws import Draw
from diffenc_jax.train.gradients import Looked, _with_interior_on_variance, gradient
from tests.diffusion.test_losses import exact_velocity

SCHEDULE = Monotone(-13.3, 5.0, hidden=16)
DIMS = 3
BITS = DIMS * math.log(2)


def gamma(params, t):
    return SCHEDULE.apply({"params": params["schedule"]}, t)


def at(params, t):
    return Instant(*jax.jvp(lambda t: gamma(params, t), (t,), (jnp.ones_like(t),)))


MODEL = SimpleNamespace(spec=SimpleNamespace(dims=DIMS), schedule=SCHEDULE, at=at)


def bound(params, place, noise, pixels):
    """The bound for Gaussian data, with a network of one parameter on top of the exact denoiser."""
    exact = exact_velocity(lambda g: jax.nn.sigmoid(-g))
    predict_v = lambda z, g: params["scale"] * exact(z, g)  # noqa: E731
    ends = gamma(params, jnp.zeros(())), gamma(params, jnp.ones(()))
    return losses.bound(NonTrainable(), predict_v, ends, linear, pixels, 256, place, noise)


@pytest.fixture
def example(x64):
    rng = np.random.RandomState(0)
    params = {"schedule": SCHEDULE.init(jax.random.key(0), jnp.zeros(1))["params"], "scale": jnp.asarray(0.9)}
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape), params)
    noise = Noise(*map(jnp.asarray, (rng.uniform(size=8), *rng.normal(size=(2, 8, DIMS)))))
    return params, noise, jnp.asarray(rng.randint(0, 256, (8, DIMS)).astype(np.uint8))


def test_gradients_are_those_of_the_bound_and_of_the_square(example):
    params, noise, pixels = example

    def loss(params, place=None):
        terms = bound(params, at(params, noise.t) if place is None else place, noise, pixels)
        objective = terms.total.mean() / BITS
        return objective, Looked(objective, terms, None, noise.t, jnp.ones_like(noise.t))

    def square(params):
        return jnp.mean((loss(params)[1].terms.diffusion / BITS) ** 2)

    looked, got = _with_interior_on_variance(MODEL, loss, params, noise.t)
    (expected_value, _), on_bound = jax.value_and_grad(loss, has_aux=True)(params)
    on_variance = jax.grad(square)(params)["schedule"]["network"]
    expected = on_bound | {"schedule": on_bound["schedule"] | {"network": on_variance}}
    assert float(looked.objective) == pytest.approx(float(expected_value), rel=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), got, expected)
    # The interior's gradient of the bound at these few times is another one.
    assert not np.allclose(on_variance["kernel"], on_bound["schedule"]["network"]["kernel"], rtol=0.1)


def test_parts_of_a_batch_have_the_gradients_of_the_whole(example):
    params, noise, pixels = example

    def terms_and_derivative(params, pixels, noise, dropout_key, place, at_ends):
        assert at_ends is None
        return bound(params, at(params, noise.t) if place is None else place, noise, pixels), None

    model = SimpleNamespace(
        spec=MODEL.spec,
        schedule=SCHEDULE,
        at=at,
        terms_and_derivative=terms_and_derivative,
        loss=SimpleNamespace(depth=None),
        score=SimpleNamespace(scan=True),
    )
    draw = Draw(pixels, noise, jnp.ones(len(pixels)))
    looked, grads = gradient(model, params, draw, jax.random.key(0), parts=1, devices=1)
    for devices, order in ((1, [0, 1, 2, 3, 4, 5, 6, 7]), (2, [0, 1, 4, 5, 2, 3, 6, 7])):
        looked_at, got = gradient(model, params, draw, jax.random.key(0), parts=2, devices=devices)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), got, grads)
        np.testing.assert_allclose(looked_at.objective, looked.objective)
        # Half of either device's block makes a part.
        np.testing.assert_array_equal(looked_at.t, noise.t[jnp.asarray(order)])
        np.testing.assert_allclose(looked_at.terms.total, looked.terms.total[jnp.asarray(order)])


def test_training_the_interior_lowers_the_variance_and_not_the_bound(example):
    params, _, _ = example
    params["scale"] = jnp.asarray(1.0)
    optimizer = optax.adam(0.03)

    def draw(key, size):
        keys = jax.random.split(key, 3)
        t = (jax.random.uniform(keys[0]) + jnp.arange(size) / size) % 1.0
        x, eps = jax.random.normal(keys[1], (2, size, DIMS))
        return x, Noise(t, eps, eps)

    def diffusion(params, place, x, noise):
        exact = exact_velocity(lambda g: jax.nn.sigmoid(-g))
        return losses.continuous(NonTrainable(), exact, x, place, noise.eps_t)

    def step(carry, key):
        params, state = carry
        x, noise = draw(key, 64)

        def loss(params, place):
            nats = diffusion(params, place, x, noise)
            terms = losses.Terms(0.0 * nats, 0.0 * nats, nats)
            return nats.mean() / BITS, Looked(nats.mean(), terms, None, noise.t, jnp.ones_like(noise.t))

        _, grads = _with_interior_on_variance(MODEL, loss, params, noise.t)
        interior = {"network": grads["schedule"]["network"]}
        updates, state = optimizer.update(interior, state)
        network = optax.apply_updates(params["schedule"]["network"], updates["network"])
        return (params | {"schedule": params["schedule"] | {"network": network}}, state), None

    state = optimizer.init({"network": params["schedule"]["network"]})
    keys = jax.random.split(jax.random.key(1), 300)
    (trained, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))((params, state))
    x, noise = draw(jax.random.key(2), 20_000)
    before, after = (diffusion(p, at(p, noise.t), x, noise) for p in (params, trained))
    assert float(after.var()) < 0.9 * float(before.var())
    assert float(after.mean()) == pytest.approx(float(before.mean()), rel=0.02)
