"""The second head learns dx_t/dγ, and nothing else notices it."""

import math
import zlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffenc_jax.config import config_hash, differences
from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.gaussian import diffuse
from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.state import init_state
from diffenc_jax.train.step import train_step
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)
PIXELS = jnp.asarray(tiny.images(6))
KEY = jax.random.key(3)


def built(head, **changes):
    return build(tiny.config(model__derivative_head=head, **changes), SPEC)


def drawn(model):
    """Parameters away from the zeros of initialisation."""

    def draw(path, leaf):
        values = 0.1 * np.random.RandomState(zlib.crc32(str(path).encode())).normal(size=leaf.shape)
        return jnp.float32(values + (path[-1].key == "scale"))

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, KEY))


def split(params):
    """All but the head, and the head."""
    rest = {name: part for name, part in params["score"].items() if name != "derivative"}
    return params | {"score": rest}, params["score"]["derivative"]


def squared_error(model, params, noise, dropout_key):
    """‖slope - ŝ‖² [B] by hand."""
    keys = jax.random.split(dropout_key)
    x, at = decoder.pixel_values(PIXELS, SPEC.levels), model.at(params, noise.t)
    x_t, slope = model.encoder(params, keys[0]).mean_and_slope(x, at.gamma_t)
    z_t, _ = diffuse(x_t, at.gamma_t, noise.eps_t)
    slope_hat = model.predict_both(params, keys[1])(z_t, at.gamma_t)[1]
    return jnp.sum(jnp.square(jax.lax.stop_gradient(slope) - slope_hat), axis=(1, 2, 3))


def objective(model, params, noise):
    """As `train_step` has it."""
    terms, derivative = model.terms_and_derivative(params, PIXELS, noise, KEY)
    head = 0.0 if derivative is None else derivative.mean() / SPEC.dims
    return terms.total.mean() / (SPEC.dims * math.log(2)) + head, (terms, derivative)


@pytest.fixture(scope="module")
def example():
    """A model with the head, parameters and noise."""
    model = built(True)
    return model, drawn(model), model.draw_noise(jax.random.key(1), jnp.linspace(0.05, 0.95, 6))


@pytest.mark.slow
def test_bound_and_gradients_are_those_without_it(example):
    """Under dropout; the head's own gradient is that of its squared error."""
    model, params, noise = example
    rest, head = split(params)
    grad = lambda model: jax.jit(jax.value_and_grad(partial(objective, model), has_aux=True))  # noqa: E731
    (_, (terms, derivative)), grads = grad(model)(params, noise)
    (_, (expected, none)), expected_grads = grad(built(False))(rest, noise)
    assert none is None
    np.testing.assert_allclose(np.stack(terms), np.stack(expected), rtol=1e-6)
    others, of_head = split(grads)
    size = float(optax.global_norm(expected_grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * size), others, expected_grads)

    def by_hand(head):
        error = squared_error(model, rest | {"score": rest["score"] | {"derivative": head}}, noise, KEY)
        return error.mean() / SPEC.dims, error

    by_hand_grads, error = jax.jit(jax.grad(by_hand, has_aux=True))(head)
    np.testing.assert_allclose(derivative, error, rtol=1e-4)
    size = float(optax.global_norm(by_hand_grads))
    assert size > 0.01
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * size), of_head, by_hand_grads)


def test_at_finite_depth_its_target_is_the_slope_at_the_steps_end(example):
    _, params, noise = example
    model, plain = (built(head, loss__depth=5) for head in (True, False))

    @jax.jit
    def look(params):
        expected = plain.terms(split(params)[0], PIXELS, noise, KEY), squared_error(model, params, noise, KEY)
        return model.terms_and_derivative(params, PIXELS, noise, KEY), expected

    (terms, derivative), (expected, error) = look(params)
    np.testing.assert_allclose(np.stack(terms), np.stack(expected), rtol=1e-6)
    np.testing.assert_allclose(derivative, error, rtol=1e-4)


@pytest.mark.slow
def test_training_lowers_its_error_and_logs_it():
    """With all else held still, so that its target is."""
    model = built(True)
    still = lambda params: jax.tree_util.tree_map_with_path(lambda path, _: "derivative" not in str(path), params)  # noqa: E731
    optimizer = optax.chain(optax.adam(1e-2), optax.masked(optax.set_to_zero(), still))
    state = jax.jit(partial(init_state, model, optimizer, 0))()
    step = jax.jit(partial(train_step, model, optimizer, tiny.settings(tiny.config()), 0, 1, 1))
    logged = []
    for _ in range(40):
        state, report = step(state, PIXELS)
        logged.append(report.meter.scalars())
    errors = [row["derivative"] for row in logged]
    assert np.mean(errors[-10:]) < 0.5 * np.mean(errors[:3])
    assert logged[-1]["bpd"] == pytest.approx(sum(logged[-1][name] for name in Terms._fields), rel=1e-6)


def test_a_run_of_before_is_still_the_same_run():
    """Its configuration lacks the key; the head, if wanted, makes another run of it."""
    now, with_head = tiny.config(), tiny.config(model__derivative_head=True)
    before = now.to_dict()
    del before["model"]["derivative_head"]
    assert config_hash(before) == config_hash(now)
    assert differences(now, before) == []
    assert config_hash(with_head) != config_hash(now)
    assert differences(with_head, before) == ["model.derivative_head=True (there False)"]
    assert build(tiny.config(), SPEC) == built(False)
