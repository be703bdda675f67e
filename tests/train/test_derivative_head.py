"""The derivative head learns (dx_t/dγ) / σ_t², and changes nothing else."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffenc_jax.diffusion.gaussian import diffuse
from diffenc_jax.train.gradients import gradient
from tests.train import heads
from tests.train.heads import SPEC, built, join, split, stack

HEAD = "derivative"
headed = partial(built, model__derivative_head=True)


def squared_error(model, params, draw):
    """‖slope - ŝ‖² [B] by hand, under dropout."""
    process, place = model.bind(params, draw.dropout_key), model.place(params, draw.noise.t)
    x_t, slope, *_ = process.encoder.mean_and_slope(process.pixel_values(draw.batch.pixels), place.gamma_t)
    z_t, _ = diffuse(x_t, place.gamma_t, draw.noise.eps_t)
    slope_hat = process.predict(z_t, place.gamma_t).slope
    return jnp.sum(jnp.square(jax.lax.stop_gradient(slope) - slope_hat), axis=(1, 2, 3))


@pytest.fixture(scope="module")
def example():
    """A model with the head, parameters away from zero, and a batch."""
    model = headed()
    return model, *heads.example(model)


@pytest.mark.slow
def test_bound_and_gradients_are_those_without_it(example):
    """Under dropout. The head's gradient is that of its squared error alone."""
    model, params, draw = example
    rest, head = split(params, HEAD)
    outputs, grads = jax.jit(lambda params: gradient(model, params, draw))(params)
    plain_outputs, plain_grads = jax.jit(lambda params: gradient(built(), params, draw))(rest)
    assert plain_outputs.terms.slope_error is None
    np.testing.assert_allclose(stack(outputs.terms), stack(plain_outputs.terms), rtol=1e-6)
    rest_grads, head_grads = split(grads, HEAD)
    size = float(optax.tree.norm(plain_grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * size), rest_grads, plain_grads)

    def by_hand(head):
        error = squared_error(model, join(rest, HEAD, head), draw)
        return error.mean() / SPEC.dims, error

    expected, error = jax.jit(jax.grad(by_hand, has_aux=True))(head)
    np.testing.assert_allclose(outputs.terms.slope_error, error, rtol=1e-4)
    size = float(optax.tree.norm(expected))
    assert size > 0.01
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * size), head_grads, expected)


@pytest.mark.slow
def test_at_finite_depth_its_target_is_the_slope_at_the_end_of_the_step(example):
    _, params, draw = example
    model, plain = headed(loss__depth=5), built(loss__depth=5)

    @jax.jit
    def outputs(params):
        expected = gradient(plain, split(params, HEAD)[0], draw)[0].terms
        return gradient(model, params, draw)[0].terms, expected, squared_error(model, params, draw)

    terms, expected, error = outputs(params)
    np.testing.assert_allclose(stack(terms), stack(expected), rtol=1e-6)
    np.testing.assert_allclose(terms.slope_error, error, rtol=1e-4)
