"""The error head learns the model's squared error at z_t, and changes nothing else."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffenc_jax.diffusion.losses import bound_at, errors_at
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.train.gradients import gradient
from tests.train import heads
from tests.train.heads import SPEC, built, join, split, stack

HEAD = "error"
headed = partial(built, model__error_head=True)
FINITE = {"loss__depth": 5, "sample__depth": 5}


def assert_close(ours, theirs, part=1e-5):
    """Trees of gradients agree, but for `part` of their size."""
    size = float(optax.tree.norm(theirs))
    assert size > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=part * size), ours, theirs)


@pytest.fixture(scope="module")
def example():
    """Parameters away from zero, of a model with the head, and a batch."""
    return heads.example(headed())


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, FINITE], ids=["infinite depth", "ratio 1"])
def test_bound_and_gradients_are_those_without_it(example, changes):
    """Under dropout. The head's gradient is that of -ln N(e; 0, V) alone, with a fixed e."""
    params, draw = example
    model, (rest, head) = headed(**changes), split(params, HEAD)
    outputs, grads = jax.jit(lambda params: gradient(model, params, draw))(params)
    plain_outputs, plain_grads = jax.jit(lambda rest: gradient(built(**changes), rest, draw))(rest)
    np.testing.assert_allclose(stack(outputs.terms), stack(plain_outputs.terms), rtol=1e-6)
    rest_grads, head_grads = split(grads, HEAD)
    assert_close(rest_grads, plain_grads)

    def by_hand(head):
        """By the density of a normal distribution."""
        process, place = model.bind(join(rest, HEAD, head), draw.dropout_key), model.place(rest, draw.noise.t)
        errors = errors_at(process, place, process.pixel_values(draw.batch.pixels), draw.noise.eps_t)
        e = jax.lax.stop_gradient(errors.velocity + errors.drift)
        log_density = jax.scipy.stats.norm.logpdf(e, scale=jnp.exp(0.5 * errors.estimate.log_error))
        score = -(log_density + 0.5 * math.log(2 * math.pi)).sum(axis=(1, 2, 3))
        return score.mean() / SPEC.dims, score

    expected, score = jax.jit(jax.grad(by_hand, has_aux=True))(head)
    np.testing.assert_allclose(outputs.terms.error_score, score, rtol=1e-4, atol=1e-4)
    assert_close(head_grads, expected, 1e-4)


@pytest.mark.slow
def test_with_its_own_ratio_the_bound_alone_trains_it(example):
    """The other parameters have the gradient of the bound at fixed ratios, so that none goes through the head."""
    params, draw = example
    model, (rest, head) = (
        headed(loss__variance_ratio="learned_error", **FINITE),
        split(params, HEAD),
    )

    def bound(rest, head):
        process, place = model.bind(join(rest, HEAD, head), draw.dropout_key), model.place(rest, draw.noise.t)
        return bound_at(process, draw.batch.pixels, place, draw.noise).means().total / (SPEC.dims * math.log(2))

    def at_fixed_ratios(rest, w):
        """By hand, with w [B, H, W, C] in place of the head's."""
        process, place = model.bind(join(rest, HEAD, head), draw.dropout_key), model.place(rest, draw.noise.t)
        fixed = place._replace(ratio=Table(w))
        return bound_at(process, draw.batch.pixels, fixed, draw.noise).means().total / (SPEC.dims * math.log(2))

    @jax.jit
    def ratios():
        process, place = model.bind(params, draw.dropout_key), model.place(rest, draw.noise.t)
        errors = errors_at(process, place, process.pixel_values(draw.batch.pixels), draw.noise.eps_t)
        return place.weight(errors.estimate)

    outputs, grads = jax.jit(lambda params: gradient(model, params, draw))(params)
    rest_grads, head_grads = split(grads, HEAD)
    assert float(outputs.objective) == pytest.approx(float(jax.jit(bound)(rest, head)), rel=1e-5)
    assert_close(head_grads, jax.jit(jax.grad(bound, argnums=1))(rest, head), 1e-4)
    expected = jax.jit(jax.grad(at_fixed_ratios))(rest, ratios())
    assert_close(rest_grads, expected, 1e-4)
